# How everything is compiled. A sanitizer is chosen by the presets (asan, tsan), never by a target.
set(BDR_SANITIZE "" CACHE STRING "Sanitizers for every target, as in -fsanitize=")
option(BDR_TEST_HOOKS "Let tests break rules and end processes on purpose (base/test_hooks.h)" OFF)
option(BDR_MERGE_SOURCES "Compile many files as one: cmake/merge_sources.cmake" OFF)
option(BDR_FUZZERS "Build the libFuzzer targets (needs clang)" OFF)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Werror)
if(BDR_SANITIZE)
  add_compile_options(-fsanitize=${BDR_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${BDR_SANITIZE})
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these inside the standard library's own headers under -O2.
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized -Wno-stringop-overflow
                      -Wno-array-bounds -Wno-stringop-overread)
  # It takes a merged file's anonymous namespace for one in a header.
  if(BDR_MERGE_SOURCES)
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
  endif()
  if(BDR_SANITIZE MATCHES "thread")
    add_compile_options(-Wno-tsan)
  endif()
endif()

find_program(LLD_PROGRAM ld.lld)
if(LLD_PROGRAM)
  add_link_options(-fuse-ld=lld)
endif()

if(BDR_TEST_HOOKS)
  add_compile_definitions(BDR_TEST_HOOKS)
endif()

include_directories(${CMAKE_SOURCE_DIR})
