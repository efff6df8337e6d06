# Installs the build into a directory of its own, builds tests/c/consumer against that, in C and C++, runs it, and
# checks what the libraries export. Variables: BUILD, WORK, TOOLCHAIN (may be empty), SYSTEM and PROCESSOR (empty unless
# cross-compiled), C_COMPILER, NM, EMULATOR (a list), PKG_CONFIG (empty where absent), LINK_FLAGS.

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN} failed:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

set(prefix ${WORK}/installed)
file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})

set(compilers -DCMAKE_C_COMPILER=${C_COMPILER} -DCMAKE_EXE_LINKER_FLAGS=${LINK_FLAGS})
if(TOOLCHAIN)
  list(APPEND compilers -DCMAKE_TOOLCHAIN_FILE=${TOOLCHAIN})
elseif(SYSTEM) # cross-compiled without one
  list(APPEND compilers -DCMAKE_SYSTEM_NAME=${SYSTEM} -DCMAKE_SYSTEM_PROCESSOR=${PROCESSOR})
endif()
# Toolchains may confine searches to their root: the directory of the package is given by name.
file(GLOB_RECURSE config ${prefix}/dwconvConfig.cmake)
get_filename_component(package ${config} DIRECTORY)
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/consumer -B ${WORK}/consumer -Ddwconv_DIR=${package} ${compilers})
run(${CMAKE_COMMAND} --build ${WORK}/consumer)
foreach(program consumer_static consumer_shared consumer_cxx)
  if(EXISTS ${WORK}/consumer/${program})
    run(${EMULATOR} ${WORK}/consumer/${program})
    message(STATUS "${program}: ${output}")
  endif()
endforeach()

file(GLOB_RECURSE shared ${prefix}/libdwconv.so)
file(GLOB_RECURSE static ${prefix}/libdwconv.a)
if(NM AND shared)
  run(${NM} --dynamic --defined-only ${shared})
  string(REGEX MATCHALL "[^ \n]+\n" symbols "${output}")
  list(FILTER symbols EXCLUDE REGEX "^dwconv_")
  if(symbols OR NOT output MATCHES "dwconv_run")
    message(FATAL_ERROR "libdwconv.so exports more, or less, than the API:\n${output}")
  endif()
  run(${NM} --defined-only --extern-only ${static})
  string(REGEX MATCHALL "[^ \n]+\n" symbols "${output}")
  list(FILTER symbols EXCLUDE REGEX "^(dwconv|dwc)_|:\n$")
  if(symbols)
    message(FATAL_ERROR "libdwconv.a defines names that are not its own: ${symbols}")
  endif()
endif()

if(PKG_CONFIG AND NOT TOOLCHAIN AND NOT SYSTEM)
  file(GLOB_RECURSE pc ${prefix}/dwconv.pc)
  get_filename_component(pc_dir ${pc} DIRECTORY)
  # The file names the prefix that the build was configured with.
  set(query ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${pc_dir} ${PKG_CONFIG} --define-variable=prefix=${prefix})
  run(${query} --cflags --libs --static dwconv)
  string(STRIP "${output}" arguments)
  separate_arguments(arguments UNIX_COMMAND "${arguments} ${LINK_FLAGS}")
  run(${C_COMPILER} ${CMAKE_CURRENT_LIST_DIR}/consumer/main.c ${arguments} -Wl,-rpath,${prefix}/lib
      -o ${WORK}/by_pkg_config)
  run(${WORK}/by_pkg_config)
  message(STATUS "by pkg-config: ${output}")
endif()
