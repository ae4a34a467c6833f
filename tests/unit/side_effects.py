"""Static analysis of the services: consecutive side effects with no failpoint between them.

Each function of `gateway/`, `workers/` and `scheduler/` is walked along its branches and loops, into the functions of
these that it calls, with the side effects that may have happened since the last failpoint. Effects are: a transaction
that commits, an enqueued task, a call to the provider or to a customer, and the answer or acknowledgement at the end.
What raised counts as not done. Consecutive enqueues count as one, and so do customers' calls: another thread makes
them, and no failpoint could lie between them.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("gateway", "workers", "scheduler")
Function = ast.FunctionDef | ast.AsyncFunctionDef
ANSWERING = {
    ("gateway/intake/payouts.py", "flush"): "answer",
    ("gateway/intake/provider_webhooks.py", "flush"): "answer",
    ("workers/app.py", "perform"): "ack",
}
"""Functions with an effect at their end, besides the handlers, each of which is an operation."""
REPEATABLE = frozenset({"enqueue", "send"})
"""Effects that may follow each other."""
State = frozenset[str]
"""The last effects that may have happened since the last failpoint; empty: this place is not reached."""
NOTHING: State = frozenset({""})


@dataclass
class Module:
    """A file: its functions, and the names that it imports from our services."""

    path: str
    text: str
    functions: dict[str, Function] = field(default_factory=dict)
    """By name; the first of several with one name, and no nested ones."""
    everything: list[Function] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)
    _inside: dict[Function, dict[str, Function]] = field(default_factory=dict)

    def inside(self, function: Function) -> dict[str, Function]:
        """Return the functions nested in a function, by name."""
        if function not in self._inside:
            inner = (node for node in ast.walk(function) if isinstance(node, Function) and node is not function)
            self._inside[function] = {node.name: node for node in inner}
        return self._inside[function]

    @property
    def outermost(self) -> list[ast.stmt]:
        """The statements of the file."""
        return ast.parse(self.text).body


@dataclass(frozen=True, order=True)
class Gap:
    """Two effects with no failpoint between them."""

    path: str
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}:{self.function} {self.before} → {self.after}"


def load_modules(root: Path = ROOT) -> dict[str, Module]:
    """Load every file of the services, by its path."""
    return dict(_modules(root))


@cache
def _modules(root: Path) -> dict[str, Module]:
    found = {}
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        found[str(path.relative_to(root))] = parse_module(str(path.relative_to(root)), path.read_text())
    return found


def parse_module(path: str, text: str) -> Module:
    """Parse one file."""
    made = Module(path, text)
    tree = ast.parse(text)
    for node in [
        *tree.body,
        *(inner for outer in tree.body if isinstance(outer, ast.ClassDef) for inner in outer.body),
    ]:
        if isinstance(node, Function):
            made.functions.setdefault(node.name, node)
    for node in ast.walk(tree):
        if isinstance(node, Function):
            made.everything.append(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in FOLDERS:
            source = (node.module or "").replace(".", "/") + ".py"
            made.imports |= {alias.asname or alias.name: source for alias in node.names}
    return made


@cache
def _source(node: ast.AST) -> str:
    """The text of a node; nodes are the same objects for as long as their module is."""
    return ast.unparse(node)


def failpoints_in(node: ast.AST) -> Iterator[str]:
    """Yield the failpoints that the code names."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "failpoint":
            [name] = call.args
            assert isinstance(name, ast.Constant), "a failpoint is named by a literal"
            yield str(name.value)


def find_gaps(found: dict[str, Module]) -> set[Gap]:
    """Find every gap."""
    walker = Walker(found)
    for one in found.values():
        for function in one.everything:
            walker.root(one, function)
    return walker.gaps


class Walker:
    """Walks functions and collects the gaps."""

    def __init__(self, found: dict[str, Module]) -> None:
        self.modules = found
        self.gaps: set[Gap] = set()
        self._stack: list[tuple[Module, Function]] = []
        self._walked: dict[tuple[int, State], State] = {}
        self._commits: list[int] = []
        """The number of open transactions of each function on the stack."""
        self._ends: list[set[str]] = []
        self._breaks: list[set[str]] = []
        self._continues: list[set[str]] = []

    def root(self, one: Module, function: Function) -> None:
        """Walk a function from its beginning to its end."""
        state = self._function(one, function, NOTHING)
        ending = ANSWERING.get((one.path, function.name)) or ("answer" if _is_operation(function) else None)
        if ending is not None:
            self._stack.append((one, function))
            self._effect(ending, state)
            self._stack.pop()

    def _function(self, one: Module, function: Function, state: State) -> State:
        if any(function is on_stack for _, on_stack in self._stack):
            return state
        if (known := self._walked.get((id(function), state))) is not None:
            return known
        self._stack.append((one, function))
        self._commits.append(0)
        self._ends.append(set())
        falls = self._block(function.body, state)
        self._commits.pop()
        self._stack.pop()
        self._walked[id(function), state] = ended = falls | frozenset(self._ends.pop())
        return ended

    def _effect(self, kind: str, state: State) -> State:
        one, function = self._stack[-1]
        for before in state - {""}:
            if not (before == kind and kind in REPEATABLE):
                self.gaps.add(Gap(one.path, function.name, before, kind))
        return frozenset({kind}) if state else state

    def _block(self, statements: Iterable[ast.stmt], state: State) -> State:
        for statement in statements:
            state = self._statement(statement, state) if state else state
        return state

    def _statement(self, node: ast.stmt, state: State) -> State:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return state  # walked separately
            case ast.If(test=test, body=body, orelse=orelse):
                state = self._expression(test, state)
                return self._block(body, state) | self._block(orelse, state)
            case ast.For(iter=head, body=body) | ast.AsyncFor(iter=head, body=body):
                return self._loop(body, self._expression(head, state))
            case ast.While(test=head, body=body):
                endless = isinstance(head, ast.Constant)
                return self._loop(body, self._expression(head, state), endless=endless)
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
                ended = self._block(orelse, self._block(body, state))
                for handler in handlers:
                    ended |= self._block(handler.body, state)
                return self._block(final, ended)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                return self._with(items, body, state)
            case ast.Match(subject=subject, cases=cases):
                state = self._expression(subject, state)
                return frozenset().union(state, *(self._block(case.body, state) for case in cases))
            case ast.Return(value=value):
                state = self._expression(value, state) if value is not None else state
                for _ in range(self._commits[-1]):
                    state = self._effect("commit", state)
                self._ends[-1] |= state
                return frozenset()
            case ast.Raise():
                return frozenset()
            case ast.Break():
                self._breaks[-1] |= state
                return frozenset()
            case ast.Continue():
                self._continues[-1] |= state
                return frozenset()
        return self._expression(node, state)

    def _loop(self, body: list[ast.stmt], state: State, *, endless: bool = False) -> State:
        """Two iterations show what follows itself."""
        self._breaks.append(set())
        self._continues.append(set())
        for _ in range(2):
            state = state | self._block(body, state) | frozenset(self._continues[-1])
        self._continues.pop()
        broken = frozenset(self._breaks.pop())
        return broken if endless else state | broken

    def _with(self, items: list[ast.withitem], body: list[ast.stmt], state: State) -> State:
        transactions = sum(_is_transaction(item.context_expr) for item in items)
        for item in items:
            state = self._expression(item.context_expr, state)
        self._commits[-1] += transactions
        state = self._block(body, state)
        self._commits[-1] -= transactions
        for _ in range(transactions):
            state = self._effect("commit", state)
        return state

    def _expression(self, node: ast.AST, state: State) -> State:
        """Walk the calls in an expression, inner ones first; a lambda is only passed on, not called."""
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.Lambda):
                state = self._expression(child, state)
        if not isinstance(node, ast.Call):
            return state
        if isinstance(node.func, ast.Name) and node.func.id == "failpoint":
            [name] = failpoints_in(node)
            # Inside a transaction it equals the failpoint before it: nothing has happened in between.
            return NOTHING if state and not name.endswith(".before_commit") else state
        kind = self._kind(node)
        if kind is not None:
            return self._effect(kind, state)
        one, function = self._stack[-1]
        name = _called(node)
        source = self.modules.get(one.imports.get(name, ""), one)
        if name == "write" and _of_services(node):
            source = self.modules["gateway/app_state.py"]
        if name in source.functions:
            state = self._function(source, source.functions[name], state)
        for argument in node.args:  # a nested function that is passed on is called
            if isinstance(argument, ast.Name) and (inner := one.inside(function).get(argument.id)) is not None:
                state = self._function(one, inner, state)
        return state

    def _kind(self, node: ast.Call) -> str | None:
        """Return the effect that a call is, if it is one."""
        words = _source(node.func).split(".")
        on_stack = self._stack[-1]
        if words[-1] == "enqueue":
            return "enqueue"
        if words[-2:-1] == ["_sender"] and words[-1] == "send":
            return "send"
        if "paystream" in words[:-1] and words[-1] in ("call", "call_all", "call_each"):
            return "call"
        if any(_source(argument).endswith(".paystream") for argument in node.args):
            return "call"  # calls the provider with the client that it is given
        if words == ["work"] and (on_stack[0].path, on_stack[1].name) == ("workers/app.py", "perform"):
            return "work"
        return None


def _called(node: ast.Call) -> str:
    """Return the name of a called function of ours: `f(…)`, `self.f(…)`, or `services.write(…)`."""
    match node.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name
        case ast.Attribute(attr="write") if _of_services(node):
            return "write"
    return ""


def _of_services(node: ast.Call) -> bool:
    """Whether it is a method of the gateway's services."""
    owner = _source(node.func).rpartition(".")[0]
    return owner == "services" or owner.endswith("[SERVICES]")


def _is_transaction(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "begin"


def _is_operation(function: Function) -> bool:
    return any(
        isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "operation"
        for decorator in function.decorator_list
    )
