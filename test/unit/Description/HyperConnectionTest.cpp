//===- HyperConnectionTest.cpp - kinds hyper_connection and its chain -----===//

#include "Testing.h"

using namespace mhc;
using namespace mhc::testing;

using Sinkhorn = Convention::Sinkhorn;

TEST(HyperConnection, Defaults) {
  auto d = acceptAs<HyperConnectionKind>(hyperConnection());
  EXPECT_EQ(d.hiddenSize, 32);
  EXPECT_EQ(d.dtype, Dtype::bf16);
  EXPECT_FALSE(d.chain);
  EXPECT_EQ(d.depth, 1);
  EXPECT_EQ(d.hc.topology, Topology::mhc);
  EXPECT_EQ(d.hc.n, 4);
  EXPECT_EQ(d.hc.preset, Preset::paper);
  EXPECT_EQ(d.hc.manifold.kind, ManifoldKind::birkhoff);
  const Convention &c = d.hc.convention;
  EXPECT_FALSE(c.transposedRes || c.sinkhorn.firstOverInputs || c.rms.inverseOfRootPlusEps || c.normWeight);
  EXPECT_FALSE(c.bf16Coefficients || c.layoutTCn || c.phiTransposed || c.delayed || c.fBias);
  EXPECT_EQ(c.sinkhorn.start, Sinkhorn::exp);
  EXPECT_EQ(c.sinkhorn.denominator, Sinkhorn::none);
  EXPECT_EQ(c.sinkhorn.iterations, 20);
  EXPECT_EQ(c.rms.eps, 1e-6);
  EXPECT_EQ(c.preEps, 0);
  EXPECT_EQ(c.postScale, 2);
  EXPECT_TRUE(c.pre == Mapping::dynamic && c.post == Mapping::dynamic && c.res == Mapping::dynamic);
}

TEST(HyperConnection, Presets) {
  struct Expected {
    const char *name;
    Preset preset;
    bool transposedRes, firstOverInputs;
    Sinkhorn::Start start;
    Sinkhorn::Denominator denominator;
    double rmsEps, preEps;
    bool layoutTCn, phiTransposed, delayed;
  } const table[] = {
      {"paper", Preset::paper, false, false, Sinkhorn::exp, Sinkhorn::none, 1e-6, 0, false, false, false},
      {"deepseek-v4", Preset::deepseekV4, true, false, Sinkhorn::softmax, Sinkhorn::addEps, 1e-6, 1e-6, false, true,
       false},
      {"deepseek-v4.1", Preset::deepseekV41, true, false, Sinkhorn::softmax, Sinkhorn::addEps, 1e-6, 1e-6, false, true,
       true},
      {"transformer-engine", Preset::transformerEngine, true, false, Sinkhorn::log, Sinkhorn::none, 1.1920929e-7, 0,
       true, true, false},
      {"liger", Preset::liger, false, true, Sinkhorn::softmax, Sinkhorn::addEps, 1e-6, 0, false, false, false},
  };
  for (const Expected &e : table) {
    SCOPED_TRACE(e.name);
    auto d = acceptAs<HyperConnectionKind>(hyperConnection(std::string("\"preset\": \"") + e.name + "\""));
    const Convention &c = d.hc.convention;
    EXPECT_EQ(d.hc.preset, e.preset);
    EXPECT_EQ(c.transposedRes, e.transposedRes);
    EXPECT_EQ(c.sinkhorn.firstOverInputs, e.firstOverInputs);
    EXPECT_EQ(c.sinkhorn.start, e.start);
    EXPECT_EQ(c.sinkhorn.denominator, e.denominator);
    EXPECT_EQ(c.sinkhorn.iterations, 20);
    EXPECT_EQ(c.sinkhorn.eps, 1e-6);
    EXPECT_EQ(c.rms.eps, e.rmsEps);
    EXPECT_FALSE(c.rms.inverseOfRootPlusEps);
    EXPECT_EQ(c.preEps, e.preEps);
    EXPECT_EQ(c.postScale, 2);
    EXPECT_EQ(c.layoutTCn, e.layoutTCn);
    EXPECT_EQ(c.phiTransposed, e.phiTransposed);
    EXPECT_EQ(c.delayed, e.delayed);
  }
}

TEST(HyperConnection, EveryField) {
  auto d = acceptAs<HyperConnectionKind>(
      R"({"kind": "hyper_connection_chain", "hidden_size": 100, "hc_mult": 3, "dtype": "fp64", "topology": "mhc", "preset": "liger",
          "convention": {"res_application": "HTX",
            "sinkhorn": {"first_over": "outputs", "start": "exp", "denominator": "max_eps", "iterations": 7, "eps": 0},
            "rms": {"form": "inverse_of_root_plus_eps", "eps": 1e-20}, "norm_weight": true, "pre_eps": 0.5, "post_scale": -1.5,
            "coefficient_dtype": "bf16", "layout": "TCn", "phi_layout": "mk", "pre_source": "delayed", "f_bias": true,
            "mappings": {"pre": "dynamic", "post": "static", "res": "static"}},
          "manifold": {"kind": "birkhoff"}, "depth": 8})");
  EXPECT_TRUE(d.chain);
  EXPECT_EQ(d.depth, 8);
  EXPECT_EQ(d.dtype, Dtype::fp64);
  EXPECT_EQ(d.hc.n, 3);
  const Convention &c = d.hc.convention;
  EXPECT_TRUE(c.transposedRes && c.rms.inverseOfRootPlusEps && c.normWeight && c.bf16Coefficients && c.layoutTCn);
  EXPECT_TRUE(c.phiTransposed && c.delayed && c.fBias);
  EXPECT_FALSE(c.sinkhorn.firstOverInputs);
  EXPECT_EQ(c.sinkhorn.start, Sinkhorn::exp);
  EXPECT_EQ(c.sinkhorn.denominator, Sinkhorn::maxEps);
  EXPECT_EQ(c.sinkhorn.iterations, 7);
  EXPECT_EQ(c.sinkhorn.eps, 0);
  EXPECT_EQ(c.rms.eps, 1e-20);
  EXPECT_EQ(c.preEps, 0.5);
  EXPECT_EQ(c.postScale, -1.5);
  EXPECT_EQ(c.pre, Mapping::dynamic);
  EXPECT_EQ(c.post, Mapping::constant);
}

TEST(HyperConnection, Manifolds) {
  struct Expected {
    const char *text;
    ManifoldKind kind;
    int64_t columns;
  } const table[] = {
      {"\"birkhoff\"", ManifoldKind::birkhoff, 24},     {"\"permutation_hull\"", ManifoldKind::permutationHull, 24},
      {"\"orthogonal\"", ManifoldKind::orthogonal, 24}, {"\"sphere\"", ManifoldKind::sphere, 24},
      {"\"simplex\"", ManifoldKind::simplex, 24},       {"\"unconstrained\"", ManifoldKind::unconstrained, 24},
      {"\"identity\"", ManifoldKind::identity, 8},      {"{\"kind\": \"simplex\"}", ManifoldKind::simplex, 24}};
  for (const Expected &e : table) {
    auto d = acceptAs<HyperConnectionKind>(hyperConnection(std::string("\"manifold\": ") + e.text));
    EXPECT_EQ(d.hc.manifold.kind, e.kind) << e.text;
    EXPECT_EQ(d.hc.phiColumns(), e.columns) << e.text;
    EXPECT_EQ(d.hc.biasSize(), e.columns) << e.text;
    EXPECT_EQ(d.hc.phiRows(32), 128) << e.text;
    EXPECT_FALSE(d.hc.manifold.radius) << e.text;
  }
  auto sphere = acceptAs<HyperConnectionKind>(
      hyperConnection("\"manifold\": {\"kind\": \"sphere\", \"radius\": 2.5, \"eps\": 0.5}"));
  EXPECT_EQ(sphere.hc.manifold.radius, 2.5);
  EXPECT_EQ(sphere.hc.manifold.eps, 0.5);
  auto hc = acceptAs<HyperConnectionKind>(hyperConnection("\"topology\": \"hc\""));
  EXPECT_EQ(hc.hc.phiColumns(), 6);
  EXPECT_EQ(hc.hc.phiRows(32), 32);
  EXPECT_EQ(hc.hc.biasSize(), 24);
}

// What looks like a mistake and is none.
TEST(HyperConnection, Accepted) {
  const std::string accepted[] = {
      hyperConnection("\"hc_mult\": 4, \"manifold\": \"permutation_hull\""),
      // a preset's own values cannot be without effect
      hyperConnection("\"preset\": \"deepseek-v4\", \"manifold\": \"simplex\""),
      hyperConnection("\"preset\": \"deepseek-v4\", \"manifold\": \"identity\""),
      convention("\"mappings\": {\"pre\": \"fixed\", \"res\": \"fixed\"}", "\"preset\": \"deepseek-v4\""),
      convention("\"sinkhorn\": {\"eps\": 0.1}", "\"preset\": \"deepseek-v4\""),
      convention("\"sinkhorn\": {\"denominator\": \"none\", \"eps\": 0.1}", "\"preset\": \"liger\""),
      convention("\"sinkhorn\": {\"start\": \"log\", \"denominator\": \"none\"}", "\"preset\": \"liger\""),
      convention("\"mappings\": {\"pre\": \"static\", \"post\": \"static\"}, \"pre_eps\": 0.1, \"post_scale\": 1, "
                 "\"norm_weight\": true"),
      convention("\"mappings\": {\"pre\": \"fixed\"}, \"post_scale\": 1.5, \"phi_layout\": \"mk\""),
      // hc takes every option that has a meaning for it
      convention("\"res_application\": \"HTX\", \"rms\": {\"eps\": 1}, \"norm_weight\": true, \"coefficient_dtype\": "
                 "\"bf16\", \"layout\": "
                 "\"TCn\", \"phi_layout\": \"mk\", \"pre_source\": \"delayed\", \"f_bias\": true, \"mappings\": "
                 "{\"post\": \"static\"}",
                 "\"topology\": \"hc\""),
  };
  for (const std::string &text : accepted)
    accept(text);
}

TEST(HyperConnection, Refusals) {
  const std::string fixed = "\"mappings\": {\"res\": \"fixed\"}", hc = "\"topology\": \"hc\"";
  const std::string unused = "\"mappings\": {\"pre\": \"static\", \"post\": \"fixed\", \"res\": \"static\"}";
  const Refused cases[] = {
      // required, ranges
      {"@{\"kind\": \"hyper_connection\"}", "missing field 'hidden_size'"},
      {"{\"kind\": \"hyper_connection\", \"hidden_size\": @0}",
       "'hidden_size': expected an integer of at least 1, but got 0"},
      {"{\"kind\": \"hyper_connection\", @\"hidden_size\": 9223372036854775807}", "'hidden_size': too large"},
      {hyperConnection("\"hc_mult\": @0"), "'hc_mult': expected an integer from 1 to 8"},
      {hyperConnection("\"hc_mult\": @9"), "'hc_mult': expected an integer from 1 to 8"},
      {hyperConnection("\"topology\": @\"residual\""), "'topology': expected one of 'mhc' or 'hc'"},
      {convention("\"sinkhorn\": {\"iterations\": @0}"), "'convention.sinkhorn.iterations'"},
      {convention("\"sinkhorn\": {\"iterations\": @2.5}"), "'convention.sinkhorn.iterations'"},
      {convention("\"sinkhorn\": {\"denominator\": \"add_eps\", \"eps\": @-1e-6}"), "'convention.sinkhorn.eps'"},
      {convention("\"sinkhorn\": {\"first_over\": @\"rows\"}"),
       "'convention.sinkhorn.first_over': expected one of 'outputs' or 'inputs'"},
      {convention("\"sinkhorn\": {\"start\": @\"sigmoid\"}"), "'convention.sinkhorn.start'"},
      {convention("\"rms\": {\"eps\": @0}"), "'convention.rms.eps': expected a number above 0"},
      {convention("\"rms\": {\"eps\": @-1e-6}"), "'convention.rms.eps'"},
      {convention("\"rms\": {\"eps\": @1e-60}"), "'convention.rms.eps'"},
      {convention("\"rms\": {\"form\": @\"rsqrt\"}"), "'convention.rms.form'"},
      {convention("\"pre_eps\": @-0.1"), "'convention.pre_eps': expected a number that is not negative"},
      {convention("\"mappings\": {\"pre\": @\"dynamik\"}"), "'convention.mappings.pre'", "did you mean 'dynamic'?"},
      {convention("\"mappings\": {@\"f\": \"fixed\"}"), "unknown field 'convention.mappings.f'"},
      {convention("\"layout\": @\"nTC\""), "'convention.layout': expected one of 'TnC' or 'TCn'"},
      {convention("\"phi_layout\": @\"kn\""), "'convention.phi_layout'"},
      {convention("\"res_application\": @\"XH\""), "'convention.res_application'"},
      {convention("\"coefficient_dtype\": @\"fp64\""), "'convention.coefficient_dtype'"},
      {convention("\"pre_source\": @\"next\""), "'convention.pre_source'"},
      // manifolds
      {hyperConnection("\"manifold\": @\"birkoff\""), "'manifold': expected one of", "did you mean 'birkhoff'?"},
      {hyperConnection("\"manifold\": @3"), "'manifold': expected one of"},
      {hyperConnection("\"manifold\": @{}"), "missing field 'manifold.kind'"},
      {hyperConnection("\"manifold\": {\"kind\": \"simplex\", @\"radius\": 2.0}"),
       "'manifold.radius' does not apply to manifold 'simplex'"},
      {hyperConnection("\"manifold\": {\"kind\": \"birkhoff\", @\"eps\": 2.0}"),
       "'manifold.eps' does not apply to manifold 'birkhoff'"},
      {hyperConnection("\"manifold\": {\"kind\": \"sphere\", \"radius\": @0}"),
       "'manifold.radius': expected a number above 0"},
      {hyperConnection("\"manifold\": {\"kind\": \"sphere\", \"eps\": @-1}"), "'manifold.eps'"},
      {hyperConnection("\"hc_mult\": 5, @\"manifold\": \"permutation_hull\""), "'hc_mult' of at most 4, but got 5"},
      // the chain
      {hyperConnection("@\"depth\": 3"), "'depth' does not apply to kind 'hyper_connection'"},
      {"@{\"kind\": \"hyper_connection_chain\", \"hidden_size\": 32}", "missing field 'depth'"},
      {"{\"kind\": \"hyper_connection_chain\", \"hidden_size\": 32, \"depth\": @0}", "'depth'"},
      {hyperConnection("@\"readout\": \"mean\""), "'readout' does not apply here", "language_model"},
      // topology hc
      {hyperConnection(hc + ", @\"preset\": \"paper\""), "'preset' does not apply to topology 'hc'"},
      {hyperConnection(hc + ", @\"manifold\": \"birkhoff\""), "'manifold' does not apply to topology 'hc'"},
      {convention("@\"sinkhorn\": {}", hc), "'convention.sinkhorn' does not apply to topology 'hc'"},
      {convention("@\"pre_eps\": 0.1", hc), "'convention.pre_eps' does not apply to topology 'hc'"},
      {convention("@\"post_scale\": 2.0", hc), "'convention.post_scale' does not apply to topology 'hc'"},
      // knobs without effect
      {convention("@\"sinkhorn\": {\"iterations\": 5}", "\"manifold\": \"simplex\""),
       "'convention.sinkhorn' has no effect with manifold 'simplex'"},
      {convention("@\"sinkhorn\": {}", "\"manifold\": \"identity\""), "'convention.sinkhorn' has no effect"},
      {convention("@\"sinkhorn\": {\"iterations\": 5}, " + fixed),
       "'convention.sinkhorn' has no effect with mappings.res 'fixed'"},
      {convention("\"sinkhorn\": {@\"eps\": 1e-3}"), "'convention.sinkhorn.eps' has no effect"},
      {convention("\"sinkhorn\": {@\"eps\": 1e-3}", "\"preset\": \"transformer-engine\""),
       "'convention.sinkhorn.eps' has no effect"},
      {convention("\"sinkhorn\": {@\"start\": \"log\", \"denominator\": \"add_eps\"}"),
       "start 'log' goes with denominator 'none'"},
      {convention("\"sinkhorn\": {@\"denominator\": \"max_eps\"}", "\"preset\": \"transformer-engine\""),
       "start 'log' goes with denominator 'none'"},
      {convention("\"sinkhorn\": {@\"start\": \"log\"}", "\"preset\": \"liger\""),
       "start 'log' goes with denominator 'none'"},
      {convention(fixed, "@\"manifold\": \"simplex\""), "'manifold' has no effect with mappings.res 'fixed'"},
      {convention(fixed + ", @\"res_application\": \"HTX\""), "'convention.res_application' has no effect"},
      {convention("@\"pre_eps\": 0.1, \"mappings\": {\"pre\": \"fixed\"}"), "'convention.pre_eps' has no effect"},
      {convention("@\"post_scale\": 1.5, \"mappings\": {\"post\": \"fixed\"}"),
       "'convention.post_scale' has no effect"},
      {convention("\"mappings\": {@\"res\": \"static\"}", "\"manifold\": \"identity\""),
       "'convention.mappings.res' has no effect with manifold 'identity'"},
      {convention("@\"res_application\": \"HX\"", "\"manifold\": \"identity\""),
       "'convention.res_application' has no effect"},
      {convention(unused + ", @\"rms\": {}"), "'convention.rms' has no effect when no mapping is dynamic"},
      {convention(unused + ", @\"norm_weight\": false"), "'convention.norm_weight' has no effect"},
      {convention(unused + ", @\"phi_layout\": \"km\""), "'convention.phi_layout' has no effect"},
      {convention(unused + ", @\"rms\": {}", hc), "'convention.rms' has no effect"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}
