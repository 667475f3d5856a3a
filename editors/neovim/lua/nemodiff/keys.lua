--- Default keys: only those that nobody has taken.

local M = {}

--- Each is a name of `<Plug>(nemodiff-…)`.
---@class nemodiff.Keys
---@field accept? string|false
---@field accept_word? string|false
---@field accept_line? string|false
---@field next? string|false
---@field previous? string|false
---@field dismiss? string|false
---@field trigger? string|false

---@type nemodiff.Keys
M.defaults = {
  accept = '<Tab>',
  accept_word = '<M-Right>',
  accept_line = '<M-Down>',
  next = '<M-]>',
  previous = '<M-[>',
  dismiss = '<M-e>',
  trigger = '<M-\\>',
}

--- What was left alone because somebody else has it: key by action.
---@type table<string, string>
M.taken = {}

---@type string[]
local mapped = {}

---@param key string
---@return boolean
local function is_taken(key)
  local mapping = vim.fn.maparg(key, 'i', false, true)
  if vim.tbl_isempty(mapping) or (mapping.desc or ''):find('^NemoDiff') then
    return false
  end
  -- Neovim's own default for Tab, which is carried on.
  return not (mapping.desc or ''):find('^vim%.snippet%.jump')
end

--- What the key would do without us.
---@param key string
---@return string
local function otherwise(key)
  if key:lower() == '<tab>' and vim.snippet and vim.snippet.active({ direction = 1 }) then
    return '<Cmd>lua vim.snippet.jump(1)<CR>'
  end
  return key
end

--- Take away what `map` has mapped, as far as it is still ours.
function M.unmap()
  for _, key in ipairs(mapped) do
    local mapping = vim.fn.maparg(key, 'i', false, true)
    if (mapping.desc or ''):find('^NemoDiff') then
      vim.keymap.del('i', key)
    end
  end
  mapped = {}
end

--- Map the keys in insert mode; `keys` are the user's, false for an action without one. Those of an
--- earlier call go.
---@param keys? nemodiff.Keys
function M.map(keys)
  local ghost_text = require('nemodiff.ghost_text')
  M.unmap()
  M.taken = {}
  for action, default in pairs(M.defaults) do
    local wanted = keys and keys[action]
    local key = wanted == nil and default or wanted --[[@as string|false]]
    if key and wanted == nil and is_taken(key) then
      M.taken[action] = key
    elseif key then
      mapped[#mapped + 1] = key
      local acts_alone = action == 'next' or action == 'previous' or action == 'trigger'
      vim.keymap.set('i', key, function()
        if not acts_alone and not ghost_text.is_visible() then
          return otherwise(key)
        end
        -- Later, since an <expr> mapping may not change the text.
        vim.schedule(require('nemodiff')[action])
        return ''
      end, { expr = true, desc = 'NemoDiff: ' .. action:gsub('_', ' ') })
    end
  end
end

return M
