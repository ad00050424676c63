//===- Register.cpp - everything that the tools know ------------------------===//

#include "mhc/Tools/Register.h"

#include "mhc/Codegen/Passes.h"
#include "mhc/Dialect/Mhc/IR/MhcDialect.h"
#include "mhc/Dialect/Plan/IR/PlanDialect.h"
#include "mhc/Differentiate/Passes.h"
#include "mhc/Pipelines/Pipelines.h"
#include "mhc/Planning/Passes.h"
#include "mhc/Target/Passes.h"
#include "mhc/Transforms/Passes.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"

void mlir::mhc::registerEverything(DialectRegistry &registry) {
  registerAllDialects(registry);
  registerAllExtensions(registry);
  registerAllPasses();
  registry.insert<MhcDialect, plan::PlanDialect>();
  registerTransformsPasses();
  registerDifferentiatePasses();
  registerPlanningPasses();
  registerPhasePipelines();
  registerCodegenPasses();
  registerTargetInterfaces(registry);
  registerTargetPasses();
  registerTargetPipelines();
}
