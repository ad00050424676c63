//===- PlanDialect.td - the plan dialect, its types and attributes -*- tablegen -*-===//
#ifndef MHC_PLAN_DIALECT
#define MHC_PLAN_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::mlir::plan";
  let summary = "what a runtime does: buffers, and commands on them";
  let description = [{
    A module at this level holds `mhc.kernel` symbols and one `plan.entry` for each entry point. It says everything that a runtime needs: `docs/design/package.md` is the
    same thing in JSON, and `lib/Package` writes the one from the other field by field. Sizes are affine in the entry's symbols (`T`, `B`, `S`), which take their values at run time.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = [{
    void registerTypes();
    void registerAttributes();
  }];
}

def Plan_BufferType : TypeDef<Plan_Dialect, "Buffer"> {
  let mnemonic = "buffer";
  let summary = "memory that commands work on; its `plan.buffer` says what it is";
}
// Buildable, so that commands print without types: all that there is to know stands at the buffer.
def Plan_Buffer : Type<CPred<"::llvm::isa<::mlir::plan::BufferType>($_self)">, "buffer", "::mlir::plan::BufferType">,
                  BuildableType<"$_builder.getType<::mlir::plan::BufferType>()">;

def Plan_ExprAttr : AttrDef<Plan_Dialect, "Expr"> {
  let mnemonic = "expr";
  let summary = "an affine expression of the entry's symbols, 64-bit";
  let description = "`#plan.expr<256 * T + 64>`. Symbols stand in alphabetical order, once each, with coefficients other than zero.";
  let parameters = (ins ArrayRefParameter<"::mlir::StringAttr">:$symbols, ArrayRefParameter<"int64_t">:$coefficients, "int64_t":$constant);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    static ExprAttr constant(::mlir::MLIRContext *context, int64_t value);
    static ExprAttr symbol(::mlir::MLIRContext *context, ::llvm::StringRef name);
    bool isConstant() const { return getSymbols().empty(); }
    /// Sum and product; null if a coefficient leaves 64 bits.
    ExprAttr plus(ExprAttr other) const;
    ExprAttr times(int64_t factor) const;
    /// Null unless all coefficients are multiples of the divisor.
    ExprAttr dividedBy(int64_t divisor) const;
    /// The value, or nothing if a symbol is unknown or the arithmetic leaves 64 bits.
    std::optional<int64_t> evaluate(const ::llvm::StringMap<int64_t> &values) const;
    std::string str() const;
  }];
}

class Plan_Enum<string name, string sum, list<I32EnumAttrCase> cases> : I32EnumAttr<name, sum, cases> {
  let cppNamespace = "::mlir::plan";
  let genSpecializedAttr = 0;
}
def Plan_BufferKindEnum : Plan_Enum<"BufferKind", "where a buffer's memory comes from", [
  I32EnumAttrCase<"input", 0>, I32EnumAttrCase<"output", 1>, I32EnumAttrCase<"parameter", 2>, I32EnumAttrCase<"gradient", 3>,
  I32EnumAttrCase<"arena", 4>, I32EnumAttrCase<"partials", 5>, I32EnumAttrCase<"state", 6>, I32EnumAttrCase<"scalars", 7>, I32EnumAttrCase<"constant", 8>,
  I32EnumAttrCase<"window", 9>]>;
def Plan_BufferKindAttr : EnumAttr<Plan_Dialect, Plan_BufferKindEnum, "buffer_kind"> { let assemblyFormat = "$value"; }

#endif // MHC_PLAN_DIALECT
