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

dofile(vim.fn.fnamemodify(debug.getinfo(1, 'S').source:sub(2), ':p:h') .. '/neovim_record.lua')
