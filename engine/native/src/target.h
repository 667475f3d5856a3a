// Compiles the rest of the including file for the processors that TARGET names. Standard headers
// must come before it.
#pragma once

#define NEMODIFF_TEXT(x) #x
#define NEMODIFF_PRAGMA(x) _Pragma(NEMODIFF_TEXT(x))
#if defined(__clang__)
#define COMPILE_FOR(cpus) \
  NEMODIFF_PRAGMA(clang attribute push(__attribute__((target(cpus))), apply_to = function))
#define COMPILE_FOR_ALL _Pragma("clang attribute pop")
#else
#define COMPILE_FOR(cpus) _Pragma("GCC push_options") NEMODIFF_PRAGMA(GCC target(cpus))
#define COMPILE_FOR_ALL _Pragma("GCC pop_options")
#endif
