//===- JsonTest.cpp - what is no JSON, and the schema's own words ---------===//

#include "Testing.h"

using namespace mhc;
using namespace mhc::testing;

TEST(Json, Refusals) {
  const Refused cases[] = {
      {"@", "the text ends"},
      {"  \n @", "the text ends"},
      {"@[]", "expected an object, but got an array"},
      {"@3", "expected an object, but got 3"},
      {"@\xEF\xBB\xBF{}", "byte order mark"},
      {"{\n  @// the kind\n  \"kind\": \"optimizer\"}", "comments"},
      {"{\"kind\": \"optimizer\" @/* here */}", "comments"},
      {"@# here\n{}", "comments"},
      {"{\"kind\": \"optimizer\",\n \"eps\": 1,\n @\"eps\": 2}", "duplicate key 'eps'", "line 2"},
      {"{\"a\": {\"b\": 1, @\"b\": 1}}", "duplicate key 'b'"},
      {"{\"a\": 1, @\"\\u0061\": 1}", "duplicate key 'a'"},
      {"{\"kind\": \"optimizer\"}\n@{}", "end of the text"},
      {"{\"kind\": \"optimizer\"@", "expected ',' or '}', but the text ends"},
      {"{\"kind\": \"opti@", "end of a string"},
      {"{\"kind\": \"a@\nb\"}", "byte 0x0a"},
      {"{\"kind\": [1 @2]}", "expected ',' or ']'"},
      {"{\"kind\" @1}", "expected ':' after key 'kind'"},
      {"{@kind: 1}", "expected a key in double quotes"},
      {"{\"kind\": 1,@}", "expected a key in double quotes"},
      {"{\"kind\": @'optimizer'}", "expected a value", "double quotes"},
      {"{\"eps\": @NaN}", "expected a value, but got 'NaN'"},
      {"{\"eps\": -@Infinity}", "expected a digit"},
      {"{\"eps\": @nulls}", "expected a value"},
      {"{\"eps\": 0@12}", "must not begin with 0"},
      {"{\"eps\": 1.@}", "expected a digit"},
      {"{\"eps\": 1e@}", "expected a digit"},
      {"{\"eps\": @.5}", "expected a value"},
      {"{\"eps\": @+5}", "expected a value"},
      {"{\"kind\": \"\\@x\"}", "unknown escape"},
      {"{\"kind\": \"\\ud800@\"}", "surrogate"},
      {"{\"kind\": \"\\udc00@\"}", "surrogate"},
      {"{\"kind\": \"@\xFF\"}", "invalid UTF-8: byte 0xff"},
      {"{\"kind\": \"@\xC0\xAF\"}", "invalid UTF-8"},
      {"{\"kind\": \"@\xED\xA0\x80\"}", "invalid UTF-8"},
      {"{\"kind\": \"@\xE2\x82\"}", "invalid UTF-8"},
      {"{\"kind\": @\xC3\xA9}", "got byte 0xc3"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}

TEST(Json, Depth) {
  auto nested = [](unsigned depth, const std::string &mark) {
    return "{\"hidden_size\": " + std::string(depth - 1, '[') + mark + std::string(depth - 1, ']') + "}";
  };
  expectRefused({"@" + nested(64, ""), "missing field 'kind'"});
  std::string deep = nested(65, "");
  expectRefused({deep.insert(deep.find('[') + 63, "@"), "nested deeper than 64 levels"});
  expectRefused({"{\"a\": " + std::string(63, '[') + "@" + std::string(100000, '['), "nested deeper than 64 levels"});
}

// Columns are bytes, whatever the text holds before them.
TEST(Json, Columns) { expectRefused({"{\"k\\u00e9\xC3\xA9\": 1,\r\n\t@\"k\\u00e9\xC3\xA9\": 2}", "duplicate key"}); }

TEST(Schema, Kinds) {
  const Refused cases[] = {
      {"@{}", "missing field 'kind'"},
      {"{\"kind\": @\"moe_ruter\"}", "expected one of", "did you mean 'moe_router'?"},
      {"{\"kind\": @3}", "'kind': expected one of 'hyper_connection', 'hyper_connection_chain'"},
      {"{\"kind\": @\"a\\n\\u0000b\"}", "got \"a\\x0a\\x00b\""},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}

TEST(Schema, Types) {
  const Refused cases[] = {
      {hyperConnection("\"hc_mult\": @\"4\""), "'hc_mult': expected an integer from 1 to 8, but got \"4\""},
      {hyperConnection("\"hc_mult\": @4.0"), "'hc_mult'", "without fraction"},
      {hyperConnection("\"hc_mult\": @4e0"), "'hc_mult'", "without fraction"},
      {hyperConnection("\"hc_mult\": @true"), "but got true"},
      {hyperConnection("\"hc_mult\": @null"), "but got null"},
      {hyperConnection("\"hc_mult\": @99999999999999999999"), "'hc_mult'", "64 bits"},
      {hyperConnection("\"dtype\": @\"fp8\""), "'dtype': expected one of 'bf16', 'fp32' or 'fp64'"},
      {hyperConnection("\"dtype\": @null"), "'dtype'"},
      {hyperConnection("\"convention\": @[]"), "'convention': expected an object, but got an array"},
      {convention("\"norm_weight\": @0"), "'convention.norm_weight': expected true or false, but got 0"},
      {convention("\"post_scale\": @\"2\""), "'convention.post_scale': expected a number"},
      {convention("\"post_scale\": @1e400"), "'convention.post_scale'", "out of the range"},
      {convention("\"post_scale\": @-1e39"), "'convention.post_scale'", "out of the range"},
      {convention("\"pre_eps\": @1e-400"), "'convention.pre_eps'", "out of the range"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
  EXPECT_EQ(acceptAs<HyperConnectionKind>(convention("\"post_scale\": 3")).hc.convention.postScale, 3.0);
}

TEST(Schema, Suggestions) {
  const Refused cases[] = {
      {hyperConnection("@\"hc_mul\": 4"), "unknown field 'hc_mul'", "did you mean 'hc_mult'?"},
      {hyperConnection("@\"dpyte\": 4"), "unknown field 'dpyte'", "did you mean 'dtype'?"},
      {hyperConnection("@\"colour\": 4"), "unknown field 'colour'", "expected 'kind', 'hidden_size'"},
      {convention("@\"res_aplication\": 4"), "unknown field 'convention.res_aplication'",
       "did you mean 'res_application'?"},
      {hyperConnection("\"preset\": @\"papper\""), "'preset'", "did you mean 'paper'?"},
      {hyperConnection("\"preset\": @\"hc\""), "'preset'", "'hc' is a topology"},
      {model("@\"hidden_sise\": 64"), "unknown field 'hidden_sise'", "did you mean 'hidden_size'?"},
      {model("@\"score\": \"sigmoid\""), "'score' does not apply here", "field of 'router'"},
      {model("@\"hc_mult\": 4"), "'hc_mult' does not apply here", "field of 'residual'"},
      {training("@\"dtype\": \"bf16\""), "'training.dtype' does not apply here", "field of the language_model"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}

TEST(Schema, Positions) {
  Description d = accept(
      "{\"kind\": \"hyper_connection\",\n  \"hidden_size\": 32,\n  \"convention\": {\n    \"rms\": {\"eps\": 1}}}");
  auto expect = [&](const char *path, unsigned line, unsigned column) {
    EXPECT_EQ(d.at(path).line, line) << path;
    EXPECT_EQ(d.at(path).column, column) << path;
  };
  expect("", 1, 1);
  expect("kind", 1, 2);
  expect("hidden_size", 2, 3);
  expect("convention.rms.eps", 4, 13);
  expect("convention.rms.form", 4, 5); // the nearest parent that is written
  expect("convention.sinkhorn.start", 3, 3);
  expect("manifold", 1, 1);
  d = accept(experts(
      "2", "\n\"losses\": [{\"kind\": \"z\", \"weight\": 1}, {\n\"kind\": \"top1\", \"weight\": 1, \"tau\": 1}]"));
  expect("router.losses[1].tau", 5, 30);
  expect("router.losses[1]", 4, 40);
  expect("router.losses[7].tau", 4, 1);
}

TEST(Schema, ErrorsAsText) {
  EXPECT_EQ((DescriptionError{"a.json", {3, 7}, "wrong", ""}.str()), "a.json:3:7: error: wrong");
  EXPECT_EQ((DescriptionError{"a.json", {3, 7}, "wrong", "because"}.str()),
            "a.json:3:7: error: wrong\na.json:3:7: note: because");
}
