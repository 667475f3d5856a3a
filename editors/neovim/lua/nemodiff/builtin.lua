--- Ghost text by Neovim's own `vim.lsp.inline_completion` (0.12).
---
--- Neovim asks and draws. What it leaves open is done here: requests that are overtaken are
--- cancelled, alternatives can be asked for by key, and an offer can be taken in pieces.

local client_of = require('nemodiff.client')
local requests = require('nemodiff.requests')

local M = {}

local NAMESPACE = 'nvim.lsp.inline_completion'

---@type table<integer, lsp.Handler?>
local handlers = {}

--- Watch what Neovim asks of `client`.
---@param client vim.lsp.Client
function M.start(client)
  local request = client.request
  ---@diagnostic disable-next-line: duplicate-set-field
  client.request = function(self, method, params, handler, bufnr)
    if method ~= requests.METHOD or not bufnr then
      return request(self, method, params, handler, bufnr)
    end
    handlers[bufnr] = handler
    local is_sent, request_id
    requests.ask(client, bufnr, function(on_answer)
      is_sent, request_id = request(self, method, params, on_answer, bufnr)
      return function()
        if request_id then
          client:cancel_request(request_id)
        end
      end
    end, handler)
    return is_sent, request_id
  end
end

---@param bufnr integer
---@return string
local function group_of(bufnr)
  return 'nemodiff.builtin.' .. bufnr
end

---@param bufnr integer
function M.attach(bufnr)
  -- Neovim has it off in each buffer where nobody switches it on.
  vim.lsp.inline_completion.enable(true, { bufnr = bufnr })
  vim.api.nvim_create_autocmd('InsertLeave', {
    group = vim.api.nvim_create_augroup(group_of(bufnr), {}),
    buffer = bufnr,
    callback = function()
      requests.forget(bufnr)
    end,
  })
end

---@param bufnr integer
function M.detach(bufnr)
  requests.forget(bufnr)
  handlers[bufnr] = nil
  pcall(vim.api.nvim_del_augroup_by_name, group_of(bufnr))
end

---@param bufnr integer
---@return boolean
function M.is_visible(bufnr)
  local offer = requests.offer(bufnr)
  local space = vim.api.nvim_get_namespaces()[NAMESPACE]
  if not offer or not space or not requests.fits(bufnr) then
    return false
  end
  return #vim.api.nvim_buf_get_extmarks(bufnr, space, 0, -1, { limit = 1 }) > 0
end

--- Hand the shown text and its command to `take`, and hide it.
---@param bufnr integer
---@param take fun(text: string, command?: lsp.Command)
function M.take(bufnr, take)
  local offer = requests.offer(bufnr)
  vim.lsp.inline_completion.get({
    bufnr = bufnr,
    on_accept = function(item)
      if not offer or item.client_id ~= offer.client_id then
        -- Of another server, which Neovim serves as well.
        return item
      end
      local text = item.insert_text
      text = type(text) == 'table' and text.value or text --[[@as string]]
      local rest = requests.rest_of(bufnr, offer, text)
      if rest then
        take(rest, item.command)
      end
    end,
  })
end

--- What Neovim does with an answer: known once it has asked by itself, looked up before.
---@param bufnr integer
---@return lsp.Handler?
local function handler_of(bufnr)
  local is_there, capability = pcall(require, 'vim.lsp._capability')
  local active = is_there and vim.tbl_get(capability, 'all', 'inline_completion', 'active') or {}
  local completor = active[bufnr]
  return handlers[bufnr] or completor and function(...)
    completor:handler(...)
  end
end

--- Ask now.
---@param bufnr integer
---@param kind integer
---@param on_answer? fun()
function M.ask(bufnr, kind, on_answer)
  local client, handler = client_of.of(bufnr), handler_of(bufnr)
  if not client or not handler then
    return
  end
  local params = requests.params(client, bufnr, kind)
  client:request(requests.METHOD, params, function(...)
    handler(...)
    if on_answer then
      on_answer()
    end
  end, bufnr)
  -- What was asked by hand must not be called again for what comes by itself.
  handlers[bufnr] = handler
end

---@param bufnr integer
---@param count integer
function M.select(bufnr, count)
  vim.lsp.inline_completion.select({ bufnr = bufnr, count = count })
end

---@param bufnr integer
function M.hide(bufnr)
  requests.forget(bufnr)
  vim.lsp.inline_completion.get({
    bufnr = bufnr,
    on_accept = function()
      return nil
    end,
  })
end

return M
