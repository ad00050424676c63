# What the compiler's own targets share: LLVM's flags, the shared libraries, TableGen.
#
# Only the shared libraries MLIR and LLVM are linked, never the component archives: mixing the two puts MLIR twice into a program.

# mhc_tablegen(<file.td> <output> <action...>) collects outputs; mhc_tablegen_target() closes the folder's list.
function(mhc_tablegen td output)
  set(LLVM_TARGET_DEFINITIONS ${td})
  get_filename_component(source ${td} ABSOLUTE)
  add_custom_command(
    OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${output}
    COMMAND ${MLIR_TABLEGEN_EXE} ${ARGN} -I ${MLIR_INCLUDE_DIRS} -I ${PROJECT_SOURCE_DIR}/mhc-dialect/include -I ${PROJECT_SOURCE_DIR}/include
            ${source} -o ${CMAKE_CURRENT_BINARY_DIR}/${output} -d ${CMAKE_CURRENT_BINARY_DIR}/${output}.d
    DEPFILE ${CMAKE_CURRENT_BINARY_DIR}/${output}.d
    DEPENDS ${source}
    COMMENT "TableGen ${output}")
  set(MHC_TABLEGEN_LOCAL ${MHC_TABLEGEN_LOCAL} ${CMAKE_CURRENT_BINARY_DIR}/${output} PARENT_SCOPE)
endfunction()

function(mhc_tablegen_target name)
  add_custom_target(${name} DEPENDS ${MHC_TABLEGEN_LOCAL})
  set_property(GLOBAL APPEND PROPERTY MHC_TABLEGEN_TARGETS ${name})
endfunction()

# mhc_library(<name> <sources...>): a static library of the compiler.
function(mhc_library name)
  add_library(${name} STATIC ${ARGN})
  target_include_directories(${name} SYSTEM PUBLIC ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
  target_include_directories(${name} PUBLIC
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/mhc-dialect/include ${PROJECT_BINARY_DIR}/include ${PROJECT_BINARY_DIR}/mhc-dialect/include)
  target_compile_definitions(${name} PUBLIC ${LLVM_DEFINITIONS_LIST})
  # TableGen'd code takes the compiler a while; -O1 loses nothing that users feel.
  target_compile_options(${name} PRIVATE -O1 -g0 -Wall -Wno-unused-parameter -Wno-comment -Wno-maybe-uninitialized)
  target_link_libraries(${name} PUBLIC MLIR LLVM)
  get_property(targets GLOBAL PROPERTY MHC_TABLEGEN_TARGETS)
  if(targets)
    add_dependencies(${name} ${targets})
  endif()
endfunction()
separate_arguments(LLVM_DEFINITIONS_LIST NATIVE_COMMAND "${LLVM_DEFINITIONS}")
list(TRANSFORM LLVM_DEFINITIONS_LIST REPLACE "^-D" "")
