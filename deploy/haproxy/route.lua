-- Asks sgl-router which worker a request should go to, and tells it how the request went.

local ROUTER_TIMEOUT_MS = 65000 -- a little more than the router's --queue-timeout-secs

local function post(url, body)
    return core.httpclient():post{
        url = url,
        body = body,
        headers = {["content-type"] = {"application/json"}},
        timeout = ROUTER_TIMEOUT_MS,
    }
end

local function encoded(text)
    local function percent(byte)
        return string.format("%%%02X", byte:byte())
    end
    return (text:gsub("[^%w/._~-]", percent))
end

-- http-request lua.route ROUTER: sets txn.worker_ip and txn.worker_port, or txn.refusal.
core.register_action("route", {"http-req"}, function(txn, router)
    local path = txn.sf:path()
    local body = txn.sf:req_body()
    local length = tonumber(txn.sf:req_hdr("content-length")) or 0
    if #body < length or #body == 0 then
        body = '{"features":{"prompt_bytes":' .. length .. "}}"
    end
    local url = router .. "/v1/route?fallbacks=0&path=" .. encoded(path)
    local answer = post(url, body)
    local worker = answer.status == 200 and answer.body:match('"worker":"http://([^"/]+)')
    local ip, port = (worker or ""):match("^(.+):(%d+)$")
    if not ip then
        txn:set_var("txn.refusal", answer.body or '{"error":{"message":"the router does not answer"}}')
        return
    end
    txn:set_var("txn.worker_ip", ip)
    txn:set_var("txn.worker_port", tonumber(port))
    txn:set_var("txn.route", router .. "/v1/route/" .. answer.body:match('"token":"(%x+)"'))
end, 1)

-- Tells the router an event of a request. A filter must not wait, so a task of its own does.
local function tell(route, event)
    core.register_task(function()
        post(route, event)
    end)
end

-- filter lua.lease: tells the router the first byte and the end of each response.
local Lease = {id = "lease", flags = filter.FLT_CFG_FL_HTX}
Lease.__index = Lease

function Lease.new()
    return setmetatable({tokens = {}}, Lease)
end

function Lease:start_analyze(txn, channel)
    if channel:is_resp() then
        filter.register_data_filter(self, channel)
    end
end

function Lease:http_headers(txn, message)
    if message.channel:is_resp() then
        self.route = txn:get_var("txn.route")
        self.status = txn.sf:status()
    end
end

function Lease:http_payload(txn, message)
    if not message.channel:is_resp() or not self.route then
        return
    end
    if not self.has_begun then
        self.has_begun = true
        tell(self.route, '{"event":"first_token"}')
    end
    -- The counts that the engine reports, if they stand in one piece.
    local data = message:body() or ""
    for name, count in data:gmatch('"(%l+_tokens)":%s*(%d+)') do
        self.tokens[name] = count
    end
end

function Lease:http_end(txn, message)
    if message.channel:is_resp() and self.route then
        local usage = {}
        for _, name in ipairs{"prompt_tokens", "completion_tokens"} do
            if self.tokens[name] then
                table.insert(usage, '"' .. name .. '":' .. self.tokens[name])
            end
        end
        local counts = table.concat(usage, ",")
        tell(self.route, '{"event":"finished","status":' .. self.status .. ',"usage":{' .. counts .. "}}")
        self.route = nil
        self.is_over = true
    end
end

function Lease:end_analyze(txn, channel)
    -- The client left, or no worker answered.
    local route = self.route or txn:get_var("txn.route")
    if channel:is_resp() and route and not self.is_over then
        self.is_over = true
        tell(route, '{"event":"finished","outcome":"cancelled"}')
    end
end

core.register_filter("lease", Lease, function(lease, _)
    return lease
end)
