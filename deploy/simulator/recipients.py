"""Recipients and their payment methods."""

from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import Mode, PaymentMethod, Recipient
from deploy.simulator.errors import invalid, not_found, rejected
from deploy.simulator.options import Options
from deploy.simulator.request_bodies import BankAccount, NewMethod, NewRecipient
from deploy.simulator.time_and_ids import format_time, new_id, now_seconds, now_text
from deploy.simulator.timer import Timer


class Recipients:
    """Recipients are verified automatically, except for `+kyc_rejected` and `+kyc_pending` in the email."""

    def __init__(self, options: Options, store: DocumentStore, timer: Timer) -> None:
        self._options = options
        self._store = store
        self._timer = timer
        self._cache: dict[str, Recipient] = {}
        """Cache: recipients are read with every payment and change rarely."""

    def start(self) -> None:
        for recipient in self._store.load_due(Recipient):
            self._cache[recipient.id] = recipient
            self._timer.at(recipient.due_at or 0, self._verify, recipient)

    def find(self, mode: Mode, recipient_id: str) -> Recipient | None:
        """Return the recipient, or None if this mode has none."""
        recipient = self._cache.get(recipient_id) or self._store.get(Recipient, recipient_id)
        if recipient is None or recipient.mode != mode:
            return None
        return self._cache.setdefault(recipient_id, recipient)

    def get(self, mode: Mode, recipient_id: str) -> Recipient:
        recipient = self.find(mode, recipient_id)
        if recipient is None:
            raise not_found("recipient")
        return recipient

    def require_payable(self, mode: Mode, recipient_id: str, field: str) -> None:
        """Raise INVALID_RECIPIENT or PAYMENT_METHOD_NOT_VERIFIED."""
        recipient = self.find(mode, recipient_id)
        if recipient is None:
            raise rejected("INVALID_RECIPIENT", "No such recipient.", recipientId=recipient_id, field=field)
        method = recipient.default_method()
        if method is None or method.status != "verified":
            raise rejected(
                "PAYMENT_METHOD_NOT_VERIFIED",
                "The recipient's default payment method is not verified.",
                recipientId=recipient_id,
                field=field,
                status=None if method is None else method.status,
            )

    def create(self, mode: Mode, body: NewRecipient, key: str | None) -> Recipient:
        recipient = Recipient(
            id=new_id("rec"),
            mode=mode,
            name=body.name,
            email=body.email,
            external_id=body.external_id,
            methods=[],
            idempotency_key=key,
            created_at=now_text(),
        )
        self._cache[recipient.id] = recipient
        self._add(recipient, "bank_account", body.bank_account, make_default=True)
        return recipient

    def add_method(self, mode: Mode, recipient_id: str, body: NewMethod) -> PaymentMethod:
        recipient = self.get(mode, recipient_id)
        if (body.bank_account is None) == (body.plaid_token is None):
            message = "Exactly one of bankAccount and plaidToken is required."
            raise invalid(message, error_id="PAYMENT_METHOD_INVALID_BODY", field="bankAccount")
        if len(recipient.methods) >= 20:
            raise invalid("A recipient has at most 20 payment methods.", error_id="PAYMENT_METHOD_TOO_MANY")
        kind = "plaid" if body.bank_account is None else "bank_account"
        make_default = body.is_default or not recipient.methods
        return self._add(recipient, kind, body.bank_account, make_default=make_default)

    def set_default(self, mode: Mode, recipient_id: str, method_id: str, is_default: bool) -> PaymentMethod:
        recipient, method = self._method(mode, recipient_id, method_id)
        if is_default:
            self._make_default(recipient, method)
        elif method.is_default:
            message = "To change the default method, make another one the default."
            raise invalid(message, error_id="PAYMENT_METHOD_INVALID_IS_DEFAULT", field="isDefault")
        self._store.save(recipient)
        return method

    def delete_method(self, mode: Mode, recipient_id: str, method_id: str) -> None:
        recipient, method = self._method(mode, recipient_id, method_id)
        recipient.methods.remove(method)
        if method.is_default and recipient.methods:
            recipient.methods[0].is_default = True
        self._store.save(recipient)

    def _method(self, mode: Mode, recipient_id: str, method_id: str) -> tuple[Recipient, PaymentMethod]:
        recipient = self.get(mode, recipient_id)
        for method in recipient.methods:
            if method.id == method_id:
                return recipient, method
        raise not_found("payment method")

    def _add(
        self, recipient: Recipient, kind: str, account: BankAccount | None, *, make_default: bool
    ) -> PaymentMethod:
        now = now_seconds()
        method = PaymentMethod(
            id=new_id("pm"),
            type="plaid" if kind == "plaid" else "bank_account",
            status="verified" if kind == "plaid" else "pending",
            last4=None if account is None else account.account_number[-4:],
            is_default=False,
            created_at=format_time(now),
            verified_at=format_time(now) if kind == "plaid" else None,
        )
        recipient.methods.append(method)
        if make_default:
            self._make_default(recipient, method)
        if method.status == "pending" and "+kyc_pending" not in recipient.email.partition("@")[0]:
            live = recipient.mode == "live"
            method.due_at = now + (self._options.live_verify_seconds if live else self._options.verify_seconds)
            recipient.due_at = min(recipient.due_at or method.due_at, method.due_at)
            self._timer.at(method.due_at, self._verify, recipient)
        self._store.save(recipient)
        return method

    def _make_default(self, recipient: Recipient, chosen: PaymentMethod) -> None:
        for method in recipient.methods:
            method.is_default = method is chosen

    def _verify(self, recipient: Recipient) -> None:
        now = now_seconds()
        is_rejected = "+kyc_rejected" in recipient.email.partition("@")[0]
        for method in recipient.methods:
            if method.due_at is not None and method.due_at <= now:
                method.due_at = None
                method.status = "rejected" if is_rejected else "verified"
                method.verified_at = None if is_rejected else format_time(now)
        due_times = [method.due_at for method in recipient.methods if method.due_at is not None]
        recipient.due_at = min(due_times, default=None)
        if recipient.due_at is not None:
            self._timer.at(recipient.due_at, self._verify, recipient)
        self._store.save(recipient)
