-- The requests of a file, one after the other, in an order that jumps: wrk -s wrk.lua URL -- METHOD FILE
-- A line of the file is a path, and after a tab the body. All are put together beforehand.
local requests, turn = {}, 0

function init(args)
  for line in io.lines(args[2]) do
    local path, body = line:match("^([^\t]*)\t?(.*)$")
    if body == "" then body = nil end
    requests[#requests + 1] = wrk.format(args[1], path, nil, body)
  end
end

function request()
  turn = turn + 1
  return requests[(turn * 7919) % #requests + 1]
end
