-- wrk's side of load.py: sends its templates in turn, each with numbers of its own, and prints what came of it as JSON.
-- Arguments: the file of templates (length, newline, bytes, and so on), the mark, the first number.

local pieces = {}
local count = 0
local number = 0
local place = 0

local function split(text, mark)
   local parts, from = {}, 1
   while true do
      local at, to = string.find(text, mark, from, true)
      if not at then
         parts[#parts + 1] = string.sub(text, from)
         return parts
      end
      parts[#parts + 1] = string.sub(text, from, at - 1)
      from = to + 1
   end
end

function init(args)
   local file = assert(io.open(args[1], "rb"))
   while true do
      local length = file:read("*l")
      if not length then break end
      count = count + 1
      pieces[count] = split(file:read(tonumber(length)), args[2])
   end
   file:close()
   number = tonumber(args[3])
end

function request()
   place = place % count + 1
   number = number + 1
   return table.concat(pieces[place], string.format("%016.0f", number))
end

function done(summary, latency, requests)
   local errors = summary.errors
   local refused = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   local percentiles = {}
   for percent = 1, 99 do
      percentiles[percent] = string.format("[%d,%d]", percent, latency:percentile(percent))
   end
   for _, percent in ipairs({99.5, 99.9, 99.99}) do
      percentiles[#percentiles + 1] = string.format("[%g,%d]", percent, latency:percentile(percent))
   end
   percentiles[#percentiles + 1] = string.format("[100,%d]", latency.max)
   io.write(string.format(
      '{"seconds":%.6f,"answers":%d,"refused":%d,"percentiles":[%s]}\n',
      summary.duration / 1e6, summary.requests, refused, table.concat(percentiles, ",")))
end
