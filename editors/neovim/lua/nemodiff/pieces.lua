--- The next word and the next line of an offered text.

local M = {}

-- Bytes of characters beyond ASCII count as letters.
local WORD, SIGNS = '^%s*[%w_\128-\255]+', '^%s*[^%w_%s\128-\255]+'

--- Up to the end of the first word or run of signs; white space belongs to the word behind it.
---@param text string
---@return string
function M.next_word(text)
  return text:match(WORD) or text:match(SIGNS) or text
end

--- Up to the end of the first line that is not blank.
---@param text string
---@return string
function M.next_line(text)
  local _, blank = text:find('^%s*\n')
  local start = (blank or 0) + 1
  local stop = text:find('\n', start, true)
  return stop and text:sub(1, stop - 1) or text
end

return M
