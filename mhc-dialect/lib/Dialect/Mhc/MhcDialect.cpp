//===- MhcDialect.cpp - types and attributes of the mhc dialect -------------===//

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"
#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mhc;

#include "mhc/Dialect/Mhc/IR/MhcDialect.cpp.inc"
#include "mhc/Dialect/Mhc/IR/MhcEnums.cpp.inc"
#include "mhc/Dialect/Mhc/IR/MhcAttrInterfaces.cpp.inc"
#include "mhc/Dialect/Mhc/IR/MhcOpInterfaces.cpp.inc"

/// `, name = 4, word = memory` after a schedule's family.
static ParseResult parseScheduleFields(AsmParser &parser, DictionaryAttr &fields) {
  NamedAttrList list;
  Builder &b = parser.getBuilder();
  while (succeeded(parser.parseOptionalComma())) {
    StringRef name;
    std::string word;
    int64_t number;
    SMLoc at = parser.getCurrentLocation();
    if (parser.parseKeyword(&name) || parser.parseEqual())
      return failure();
    if (list.get(name))
      return parser.emitError(at, "expected field '") << name << "' once";
    OptionalParseResult isNumber = parser.parseOptionalInteger(number);
    if (isNumber.has_value() ? failed(*isNumber) : failed(parser.parseKeywordOrString(&word)))
      return failure();
    list.append(name, isNumber.has_value() ? Attribute(b.getI64IntegerAttr(number)) : Attribute(b.getStringAttr(word)));
  }
  fields = list.getDictionary(b.getContext());
  return success();
}
static void printScheduleFields(AsmPrinter &printer, DictionaryAttr fields) {
  for (NamedAttribute field : fields) {
    printer << ", " << field.getName().getValue() << " = ";
    if (auto number = dyn_cast<IntegerAttr>(field.getValue()))
      printer << number.getInt();
    else
      printer.printKeywordOrString(cast<StringAttr>(field.getValue()).getValue());
  }
}

#define GET_TYPEDEF_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcTypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcAttributes.cpp.inc"

void MhcDialect::initialize() {
  registerTypes();
  registerAttributes();
  addOperations<
#define GET_OP_LIST
#include "mhc/Dialect/Mhc/IR/MhcRowOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "mhc/Dialect/Mhc/IR/MhcTopologyOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "mhc/Dialect/Mhc/IR/MhcManifoldOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "mhc/Dialect/Mhc/IR/MhcLayerOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "mhc/Dialect/Mhc/IR/MhcRoutingOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "mhc/Dialect/Mhc/IR/MhcOptimizerOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "mhc/Dialect/Mhc/IR/MhcMonitorOps.cpp.inc"
      >();
}

void MhcDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "mhc/Dialect/Mhc/IR/MhcTypes.cpp.inc"
      >();
}

void MhcDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "mhc/Dialect/Mhc/IR/MhcAttributes.cpp.inc"
      >();
}

/// `<4x64xbf16>`
static ParseResult parseShaped(AsmParser &parser, SmallVectorImpl<int64_t> &shape, Type &elementType) {
  return failure(parser.parseLess() || parser.parseDimensionList(shape, /*allowDynamic=*/false) ||
                 parser.parseType(elementType) || parser.parseGreater());
}

static void printShaped(AsmPrinter &printer, ArrayRef<int64_t> shape, Type elementType) {
  printer << "<";
  for (int64_t dim : shape)
    printer << dim << "x";
  printer << elementType << ">";
}

Type WideType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape;
  Type elementType;
  SMLoc loc = parser.getCurrentLocation();
  if (parseShaped(parser, shape, elementType))
    return {};
  if (shape.size() != 2) {
    parser.emitError(loc, "expected streams x channels, but got ") << shape.size() << " dimensions";
    return {};
  }
  return parser.getChecked<WideType>(loc, parser.getContext(), shape[0], shape[1], elementType);
}
void WideType::print(AsmPrinter &printer) const { printShaped(printer, {getStreams(), getChannels()}, getElementType()); }

LogicalResult WideType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t streams, int64_t channels, Type elementType) {
  if (streams < 1 || channels < 1)
    return emitError() << "expected at least one stream and one channel, but got " << streams << "x" << channels;
  if (!elementType.isBF16() && !elementType.isF32() && !elementType.isF64())
    return emitError() << "expected element type bf16, f32 or f64, but got " << elementType;
  return success();
}

Type NarrowType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape;
  Type elementType;
  SMLoc loc = parser.getCurrentLocation();
  if (parseShaped(parser, shape, elementType))
    return {};
  return parser.getChecked<NarrowType>(loc, parser.getContext(), shape, elementType);
}
void NarrowType::print(AsmPrinter &printer) const { printShaped(printer, getShape(), getElementType()); }

LogicalResult NarrowType::verify(function_ref<InFlightDiagnostic()> emitError, ArrayRef<int64_t> shape, Type elementType) {
  if (shape.empty() || llvm::any_of(shape, [](int64_t d) { return d < 1; }))
    return emitError() << "expected positive dimensions";
  if (!elementType.isBF16() && !elementType.isF32() && !elementType.isF64() && !elementType.isInteger(32))
    return emitError() << "expected element type bf16, f32, f64 or i32, but got " << elementType;
  return success();
}

int64_t NarrowType::getNumElements() const {
  int64_t count = 1;
  for (int64_t dim : getShape())
    count *= dim;
  return count;
}
