//===- ExprTest.cpp - affine expressions of plans ---------------------------===//

#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"

#include <limits>

using namespace mlir;
using plan::ExprAttr;

namespace {
constexpr int64_t largest = std::numeric_limits<int64_t>::max();

class ExprTest : public testing::Test {
protected:
  ExprTest() { context.loadDialect<plan::PlanDialect>(); }
  ExprAttr number(int64_t value) { return ExprAttr::constant(&context, value); }
  ExprAttr symbol(StringRef name) { return ExprAttr::symbol(&context, name); }

  MLIRContext context;
};

TEST_F(ExprTest, OneFormForOneFunction) {
  ExprAttr a = symbol("T").times(3).plus(symbol("B")).plus(number(2));
  ExprAttr b = number(2).plus(symbol("B")).plus(symbol("T")).plus(symbol("T").times(2));
  EXPECT_EQ(a, b);
  EXPECT_EQ(a.str(), "B + 3 * T + 2");
  EXPECT_EQ(a.plus(symbol("B").times(-1)).str(), "3 * T + 2");
  EXPECT_EQ(symbol("T").times(0), number(0));
  EXPECT_EQ(number(0).str(), "0");
}

TEST_F(ExprTest, DivisionIsExactOrNothing) {
  ExprAttr a = symbol("T").times(12).plus(number(6));
  EXPECT_EQ(a.dividedBy(6).str(), "2 * T + 1");
  EXPECT_FALSE(a.dividedBy(4));
  EXPECT_FALSE(symbol("T").times(4).plus(number(6)).dividedBy(4));
  EXPECT_FALSE(a.dividedBy(0));
}

TEST_F(ExprTest, Values) {
  llvm::StringMap<int64_t> values;
  values["T"] = 10;
  EXPECT_EQ(symbol("T").times(12).plus(number(6)).evaluate(values), 126);
  EXPECT_EQ(symbol("S").evaluate(values), std::nullopt);
}

TEST_F(ExprTest, NothingWraps) {
  EXPECT_FALSE(number(largest).plus(number(1)));
  EXPECT_FALSE(number(largest).times(2));
  EXPECT_FALSE(symbol("T").times(largest).plus(symbol("T")));
  EXPECT_FALSE(symbol("T").times(largest).times(2));
  llvm::StringMap<int64_t> values;
  values["T"] = largest;
  EXPECT_EQ(symbol("T").times(2).evaluate(values), std::nullopt);
  EXPECT_EQ(symbol("T").plus(number(1)).evaluate(values), std::nullopt);
  EXPECT_EQ(symbol("T").evaluate(values), largest);
}
} // namespace
