-- Commands and <Plug> mappings; nothing else of the plugin is loaded before one of them is used.

if vim.g.loaded_nemodiff then
  return
end
vim.g.loaded_nemodiff = true

vim.api.nvim_create_user_command('NemoDiff', function(call)
  require('nemodiff.commands').run(call)
end, {
  nargs = '*',
  range = true,
  desc = 'NemoDiff: code completion on your own machine',
  complete = function(lead, line)
    return require('nemodiff.commands').complete(lead, line)
  end,
})

---@param modes string|string[]
---@param name string
---@param action string|function
local function plug(modes, name, action)
  local key = ('<Plug>(nemodiff-%s)'):format(name)
  vim.keymap.set(modes, key, action, { desc = 'NemoDiff: ' .. name })
end

for name, action in pairs({
  ['accept'] = 'accept',
  ['accept-word'] = 'accept_word',
  ['accept-line'] = 'accept_line',
  ['next'] = 'next',
  ['previous'] = 'previous',
  ['dismiss'] = 'dismiss',
  ['trigger'] = 'trigger',
}) do
  plug('i', name, function()
    require('nemodiff')[action]()
  end)
end
plug({ 'n', 'i' }, 'toggle', function()
  require('nemodiff').toggle()
end)
plug({ 'n', 'i' }, 'why', '<Cmd>NemoDiff why<CR>')
plug('n', 'fill', '<Cmd>NemoDiff fill<CR>')
plug('n', 'repair', '<Cmd>NemoDiff repair<CR>')
plug('x', 'fill', ':NemoDiff fill<CR>')
plug('x', 'repair', ':NemoDiff repair<CR>')
