-- Used in the tests: a record of what the client asked and got, and the ghost text on the screen.

_G.requests = {}
_G.messages = {}

local function texts_of(result)
  local texts = {}
  for _, item in ipairs(result.items or result) do
    texts[#texts + 1] = item.insertText
  end
  return texts
end

local recorded = {}

local function record(client)
  if recorded[client.id] then
    return
  end
  recorded[client.id] = true
  -- The innermost function, so that what wraps a client's own is seen at work.
  local request = client.rpc.request
  client.rpc.request = function(method, params, handler, ...)
    if method ~= 'textDocument/inlineCompletion' then
      return request(method, params, handler, ...)
    end
    local asked = vim.tbl_extend('force', { state = 'pending' }, params.position)
    asked.kind = params.context.triggerKind
    _G.requests[#_G.requests + 1] = asked
    return request(method, params, function(err, result)
      asked.state = 'answered'
      asked.error = err and err.code or nil
      asked.texts = result and result ~= vim.NIL and texts_of(result) or nil
      return handler(err, result)
    end, ...)
  end
end

vim.api.nvim_create_autocmd('LspAttach', {
  callback = function(event)
    record(assert(vim.lsp.get_client_by_id(event.data.client_id)))
    -- What Neovim attaches of its own comes one turn later.
    vim.schedule(function()
      vim.schedule(function()
        vim.b[event.buf].is_attached = true
      end)
    end)
  end,
})
for _, method in ipairs({ 'window/logMessage', 'window/showMessage' }) do
  vim.lsp.handlers[method] = function(_, params)
    _G.messages[#_G.messages + 1] = params.message
  end
end
vim.notify = function(message)
  _G.messages[#_G.messages + 1] = message
end

-- Ghost text as it stands on the screen: what an accepted item would add, line by line.
function _G.ghosts()
  local spaces = vim.api.nvim_get_namespaces()
  local found = {}
  for _, space in ipairs({ spaces['nvim.lsp.inline_completion'] or -1, spaces['nemodiff'] or -1 }) do
    local marks = space < 0 and {}
      or vim.api.nvim_buf_get_extmarks(0, space, 0, -1, { details = true })
    for _, mark in ipairs(marks) do
      local lines = { mark[4].virt_text or {} }
      vim.list_extend(lines, mark[4].virt_lines or {})
      for at, chunks in ipairs(lines) do
        local text = ''
        for _, chunk in ipairs(chunks) do
          text = text .. chunk[1]
        end
        lines[at] = text
      end
      found[#found + 1] = { mark[2], mark[3], table.concat(lines, '\n') }
    end
  end
  return found
end
