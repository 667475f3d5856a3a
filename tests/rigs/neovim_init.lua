-- Neovim's set-up in the tests: the documented one, and a record of what the client asked and got.
-- Loaded by neovim.py, which hands the command of the language server over.

local settings = vim.json.decode(vim.env.NEMODIFF_TEST_SETTINGS)

vim.lsp.config('nemodiff', {
  cmd = settings.command,
  init_options = settings.options,
  root_markers = { '.root' },
})
vim.lsp.enable('nemodiff')
vim.lsp.inline_completion.enable(true)
vim.keymap.set('i', '<Tab>', function()
  if not vim.lsp.inline_completion.get() then
    return '<Tab>'
  end
end, { expr = true })

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
  local request = client.request
  client.request = function(self, method, params, handler, bufnr)
    if method ~= 'textDocument/inlineCompletion' then
      return request(self, method, params, handler, bufnr)
    end
    local asked = vim.tbl_extend('force', { state = 'pending' }, params.position)
    _G.requests[#_G.requests + 1] = asked
    return request(self, method, params, function(err, result, ...)
      asked.state = 'answered'
      asked.error = err and err.code or nil
      asked.texts = result and result ~= vim.NIL and texts_of(result) or nil
      return handler(err, result, ...)
    end, bufnr)
  end
end

vim.api.nvim_create_autocmd('LspAttach', {
  callback = function(event)
    record(assert(vim.lsp.get_client_by_id(event.data.client_id)))
  end,
})
for _, method in ipairs({ 'window/logMessage', 'window/showMessage' }) do
  vim.lsp.handlers[method] = function(_, params)
    _G.messages[#_G.messages + 1] = params.message
  end
end

-- Ghost text as it stands on the screen: what an accepted item would add, line by line.
function _G.ghosts()
  local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
  local found = {}
  if not space then
    return found
  end
  for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, space, 0, -1, { details = true })) do
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
  return found
end
