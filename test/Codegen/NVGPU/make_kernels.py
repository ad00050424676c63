"""Kernels that together use every primitive, for many shapes."""


def wide(n, c, t):
    return f"!mhc.wide<{n}x{c}x{t}>"


def narrow(*dims):
    return f"!mhc.narrow<{'x'.join(map(str, dims))}xf32>"


def kernel(name, segments, arguments, body, ints=""):
    return f"""
mhc.kernel @{name} attributes {{compute = f32, ints = [{ints}], segments = array<i64: {', '.join(map(str, segments))}>}} {{
^bb0({', '.join(f'%{n}: memref<{t}>' for n, t in arguments)}):
{body}
}}"""


def sinkhorn(n, iterations):
    """A narrow region: exp of n x n logits over their row's maximum, then columns and rows divided by their sums; stops early by mhc.row.any."""
    m = n * n
    names = [f"%z{i}" for i in range(m)]
    text = [f"  ^bb0({', '.join(f'{a}: f32' for a in names)}, %scale: f32):"]
    text += ["    %c0 = arith.constant 0 : index", f"    %cn = arith.constant {iterations} : index", "    %c1 = arith.constant 1 : index"]
    for i in range(m):
        text += [f"    %s{i} = arith.mulf %z{i}, %scale : f32", f"    %e{i} = math.exp %s{i} : f32"]
    text.append(f"    %it:{m} = scf.for %k = %c0 to %cn step %c1 iter_args({', '.join(f'%a{i} = %e{i}' for i in range(m))}) -> ({', '.join(['f32'] * m)}) {{")
    last = [f"%a{i}" for i in range(m)]
    for axis in (0, 1):
        for j in range(n):
            cells = [i * n + j for i in range(n)] if axis == 0 else [j * n + i for i in range(n)]
            total = last[cells[0]]
            for x in cells[1:]:
                new = f"%t{axis}_{j}_{x}"
                text.append(f"      {new} = arith.addf {total}, {last[x]} : f32")
                total = new
            for x in cells:
                text.append(f"      %q{axis}_{x} = arith.divf {last[x]}, {total} : f32")
        last = [f"%q{axis}_{x}" for x in range(m)]
    text.append(f"      scf.yield {', '.join(last)} : {', '.join(['f32'] * m)}\n    }}")
    # A branch that is taken where any token wants it.
    text += ["    %big = arith.constant 1.5 : f32", "    %want = arith.cmpf ogt, %z0, %big : f32", "    %taken = mhc.row.any %want",
             "    %r0 = scf.if %taken -> (f32) {", "      %v = arith.select %want, %it#0, %it#0 : f32", "      scf.yield %v : f32",
             "    } else {", "      scf.yield %it#0 : f32", "    }"]
    text.append(f"    mhc.row.yield {', '.join(['%r0'] + [f'%it#{i}' for i in range(1, m)])} : {', '.join(['f32'] * m)}")
    return "\n".join(text)


def boundary(n, c, transposed):
    """Combine, coefficients (norm after matmul, sigmoid, Sinkhorn), aggregate."""
    m = n * n + 2 * n
    tag = "t" if transposed else "n"
    attr = " {transposed}" if transposed else ""
    w = f"{m}x{n * c}xf32" if transposed else f"{n * c}x{m}xf32"
    body = f"""
  %0 = mhc.row.load row %x : memref<?x{n}x{c}xbf16> -> {wide(n, c, 'bf16')}
  %1 = mhc.row.load row %f : memref<?x{c}xbf16> -> {wide(1, c, 'bf16')}
  %2 = mhc.row.load row %hres : memref<?x{n}x{n}xf32> -> {narrow(n, n)}
  %3 = mhc.row.load row %hpost : memref<?x{n}xf32> -> {narrow(n, 1)}
  %4 = mhc.row.mix %3, %1 : {narrow(n, 1)}, {wide(1, c, 'bf16')} -> {wide(n, c, 'f32')}
  %5 = mhc.row.mix %2, %0 init %4 : {wide(n, c, 'f32')} : {narrow(n, n)}, {wide(n, c, 'bf16')} -> {wide(n, c, 'f32')}
  %6 = mhc.row.cast %5 : {wide(n, c, 'f32')} -> {wide(n, c, 'bf16')}
  mhc.row.store %6, %xn : {wide(n, c, 'bf16')}, memref<?x{n}x{c}xbf16>
  %7 = mhc.row.project %6, %phi{attr} : {wide(n, c, 'bf16')}, memref<{w}> -> {narrow(1, m)}
  %8 = mhc.row.map %6 : {wide(n, c, 'bf16')} -> {wide(n, c, 'f32')} {{
  ^bb0(%a: f32):
    %s = arith.mulf %a, %a : f32
    mhc.row.yield %s : f32
  }}
  %9 = mhc.row.reduce add %8 : {wide(n, c, 'f32')} -> {narrow(1)}
  %10 = mhc.row.load uniform %b : memref<{m}xf32> -> {narrow(m)}
  %11:4 = mhc.row.narrow %7, %9, %10 : {narrow(1, m)}, {narrow(1)}, {narrow(m)} -> {narrow(1, n)}, {narrow(n)}, {narrow(n, n)}, {narrow(1)} {{
  ^bb0({', '.join([f'%m{i}: f32' for i in range(m)] + ['%ss: f32'] + [f'%b{i}: f32' for i in range(m)])}):
    %count = arith.constant {1.0 / (n * c)} : f32
    %eps = arith.constant 1.0e-6 : f32
    %one = arith.constant 1.0 : f32
    %two = arith.constant 2.0 : f32
    %mean = arith.mulf %ss, %count : f32
    %me = arith.addf %mean, %eps : f32
    %r = math.rsqrt %me : f32
"""
    for i in range(m):
        body += f"    %p{i} = arith.mulf %m{i}, %r : f32\n    %z{i} = arith.addf %p{i}, %b{i} : f32\n"
    for i in range(2 * n):
        body += f"    %n{i} = arith.negf %z{i} : f32\n    %e{i} = math.exp %n{i} : f32\n    %d{i} = arith.addf %e{i}, %one : f32\n    %g{i} = arith.divf {'%one' if i < n else '%two'}, %d{i} : f32\n"
    outs = [f"%g{i}" for i in range(2 * n)] + [f"%z{i}" for i in range(2 * n, m)] + ["%r"]
    body += f"    mhc.row.yield {', '.join(outs)} : {', '.join(['f32'] * (m + 1))}\n  }}\n"
    body += f"""  %12 = mhc.row.narrow %11#2, %11#3 : {narrow(n, n)}, {narrow(1)} -> {narrow(n, n)} {{
{sinkhorn(n, 4)}
  }}
  mhc.row.store %12, %hn : {narrow(n, n)}, memref<?x{n}x{n}xf32>
  mhc.row.store %11#1, %pn : {narrow(n)}, memref<?x{n}xf32>
  %13 = mhc.row.mix %11#0, %6 : {narrow(1, n)}, {wide(n, c, 'bf16')} -> {wide(1, c, 'f32')}
  %14 = mhc.row.cast %13 : {wide(1, c, 'f32')} -> {wide(1, c, 'bf16')}
  mhc.row.store %14, %u : {wide(1, c, 'bf16')}, memref<?x{c}xbf16>"""
    return kernel(f"boundary_{n}_{c}_{tag}", (6, 4, 0),
                  [("x", f"?x{n}x{c}xbf16"), ("f", f"?x{c}xbf16"), ("hres", f"?x{n}x{n}xf32"), ("hpost", f"?x{n}xf32"), ("phi", w), ("b", f"{m}xf32"),
                   ("xn", f"?x{n}x{c}xbf16"), ("hn", f"?x{n}x{n}xf32"), ("pn", f"?x{n}xf32"), ("u", f"?x{c}xbf16")], body)


def backward(n, c, groups, columns, transposed, t):
    """Gram products, project_t, sums over tokens of all kinds; g groups of n/g streams."""
    tag = "t" if transposed else "n"
    attr = " {transposed}" if transposed else ""
    k = n * c // groups
    w = f"{columns}x{k}xf32" if transposed else f"{k}x{columns}xf32"
    row = f"?x{n}x{c}x{t}"
    body = f"""
  %0 = mhc.row.load row %x : memref<{row}> -> {wide(n, c, t)}
  %1 = mhc.row.load row %d : memref<{row}> -> {wide(n, c, t)}
  %2 = mhc.row.dot %0, %1 : {wide(n, c, t)}, {wide(n, c, t)} -> {narrow(n, n)}
  %3 = mhc.row.load row %z : memref<?x{groups}x{columns}xf32> -> {narrow(groups, columns)}
  %4 = mhc.row.project_t %3, %phi{attr} : {narrow(groups, columns)}, memref<{w}> -> {wide(n, c, 'f32')}
  %5 = mhc.row.mix %2, %1 init %4 : {wide(n, c, 'f32')} {{transposed}} : {narrow(n, n)}, {wide(n, c, t)} -> {wide(n, c, 'f32')}
  %6 = mhc.row.map %5, %0, %t2 : {wide(n, c, 'f32')}, {wide(n, c, t)}, {narrow(1)} -> {wide(n, c, 'f32')} {{
  ^bb0(%a: f32, %b: f32, %q: f32):
    %i = mhc.row.channel
    %j = arith.sitofp %i : i32 to f32
    %h = arith.constant 0.001 : f32
    %l = arith.mulf %j, %h : f32
    %s = arith.mulf %b, %l : f32
    %v = arith.mulf %s, %q : f32
    %y = arith.addf %a, %v : f32
    mhc.row.yield %y : f32
  }}
  %7 = mhc.row.cast %6 : {wide(n, c, 'f32')} -> {wide(n, c, t)}
  mhc.row.store %7, %dx : {wide(n, c, t)}, memref<{row}>
  mhc.row.sum_tokens %5, %sum : {wide(n, c, 'f32')}, memref<{n}x{c}xf32>
  mhc.row.sum_tokens %7, %one : {wide(n, c, t)}, memref<{c}xf32>
  mhc.row.sum_tokens %2, %gram : {narrow(n, n)}, memref<{n}x{n}xf32>
  mhc.row.outer_tokens %0, %3, %dphi{attr} : {wide(n, c, t)}, {narrow(groups, columns)}, memref<{w}>"""
    body = body.replace("%3 = mhc.row.load", f"""%t2 = mhc.row.narrow %2 : {narrow(n, n)} -> {narrow(1)} {{
  ^bb0({', '.join(f'%g{i}: f32' for i in range(n * n))}):
    %t = math.tanh %g0 : f32
    mhc.row.yield %t : f32
  }}
  %3 = mhc.row.load""")
    return kernel(f"backward_{n}_{c}_{groups}_{columns}_{tag}_{t}", (4, 1, 4),
                  [("x", row), ("d", row), ("z", f"?x{groups}x{columns}xf32"), ("phi", w), ("dx", row), ("sum", f"{n}x{c}xf32"), ("one", f"{c}xf32"),
                   ("gram", f"{n}x{n}xf32"), ("dphi", w)], body)


def lookup(c, rows="?"):
    """Tables are looked up in; the number of their rows is known or not."""
    return kernel(f"lookup_{c}_{rows.replace('?', 'any')}", (4, 2, 0), [("ids", "?xi32"), ("table", f"{rows}x{c}xf32"), ("cos", f"?x{c}xf32"), ("gain", f"{c}xf32"), ("y", f"?x{c}xbf16"), ("n", "?x2xbf16")], f"""
  %0 = mhc.row.load row %ids : memref<?xi32> -> !mhc.narrow<1xi32>
  %1 = mhc.row.load gather %table[%0 : !mhc.narrow<1xi32>] : memref<{rows}x{c}xf32> -> {wide(1, c, 'f32')}
  %2 = mhc.row.load position %cos {{divisor = 2 : i64}} : memref<?x{c}xf32> -> {wide(1, c, 'f32')}
  %3 = mhc.row.load uniform %gain : memref<{c}xf32> -> {wide(1, c, 'f32')}
  %4 = mhc.row.map %1, %2, %3, %0 : {wide(1, c, 'f32')}, {wide(1, c, 'f32')}, {wide(1, c, 'f32')}, !mhc.narrow<1xi32> -> {wide(1, c, 'f32')} {{
  ^bb0(%a: f32, %b: f32, %g: f32, %i: i32):
    %h = mhc.row.channel
    %is = arith.cmpi eq, %h, %i : i32
    %p = arith.mulf %a, %b : f32
    %q = arith.mulf %p, %g : f32
    %z = arith.select %is, %a, %q : f32
    mhc.row.yield %z : f32
  }}
  %5 = mhc.row.cast %4 : {wide(1, c, 'f32')} -> {wide(1, c, 'bf16')}
  mhc.row.store %5, %y : {wide(1, c, 'bf16')}, memref<?x{c}xbf16>
  %6 = mhc.row.reduce max %4 : {wide(1, c, 'f32')} -> {narrow(1)}
  %7 = mhc.row.narrow %6 : {narrow(1)} -> {narrow(2)} {{
  ^bb0(%a: f32):
    %b = math.log1p %a : f32
    %c = math.absf %a : f32
    %d = arith.select %t, %c, %c : f32
    mhc.row.yield %d, %c : f32, f32
  }}
  %8 = mhc.row.cast %7 : {narrow(2)} -> !mhc.narrow<2xbf16>
  mhc.row.store %8, %n : !mhc.narrow<2xbf16>, memref<?x2xbf16>""".replace("%d = arith.select %t, %c, %c : f32", "%d = arith.maxnumf %b, %c : f32"), ints='"S"')


def softmax(c, n):
    """Cross-entropy: maximum, sum, log; loss summed; gradient in place of nothing. Several streams reduced one by one and together."""
    return kernel(f"softmax_{n}_{c}", (1, 2, 1), [("x", f"?x{n}x{c}xf32"), ("y", f"?x{n}x{c}xf32"), ("all", "?x1xf32"), ("loss", "1xf32")], f"""
  %0 = mhc.row.load row %x : memref<?x{n}x{c}xf32> -> {wide(n, c, 'f32')}
  %1 = mhc.row.reduce max %0 : {wide(n, c, 'f32')} -> {narrow(n)}
  %a = mhc.row.reduce max %0 : {wide(n, c, 'f32')} -> {narrow(1)}
  %2 = mhc.row.map %0, %1 : {wide(n, c, 'f32')}, {narrow(n)} -> {wide(n, c, 'f32')} {{
  ^bb0(%v: f32, %m: f32):
    %d = arith.subf %v, %m : f32
    %e = math.exp %d : f32
    mhc.row.yield %e : f32
  }}
  %3 = mhc.row.reduce add %2 : {wide(n, c, 'f32')} -> {narrow(n)}
  %t = mhc.row.reduce add %2 : {wide(n, c, 'f32')} -> {narrow(1)}
  %4:2 = mhc.row.narrow %3, %t, %a : {narrow(n)}, {narrow(1)}, {narrow(1)} -> {narrow(1)}, {narrow(1)} {{
  ^bb0({', '.join(f'%s{i}: f32' for i in range(n))}, %total: f32, %top: f32):
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %cn = arith.constant {n} : index
    %zero = arith.constant 0.0 : f32
    %mem = memref.alloca() : memref<{n}xf32>
{chr(10).join(f'    %i{i} = arith.constant {i} : index{chr(10)}    memref.store %s{i}, %mem[%i{i}] : memref<{n}xf32>' for i in range(n))}
    %sum = scf.for %k = %c0 to %cn step %c1 iter_args(%acc = %zero) -> (f32) {{
      %v = memref.load %mem[%k] : memref<{n}xf32>
      %l = math.log %v : f32
      %w = arith.addf %acc, %l : f32
      scf.yield %w : f32
    }}
    %u = math.log %total : f32
    %w = arith.addf %u, %top : f32
    mhc.row.yield %sum, %w : f32, f32
  }}
  mhc.row.store %4#1, %all : {narrow(1)}, memref<?x1xf32>
  mhc.row.sum_tokens %4#0, %loss : {narrow(1)}, memref<1xf32>
  %5 = mhc.row.map %2, %3 : {wide(n, c, 'f32')}, {narrow(n)} -> {wide(n, c, 'f32')} {{
  ^bb0(%v: f32, %s: f32):
    %q = arith.divf %v, %s : f32
    mhc.row.yield %q : f32
  }}
  mhc.row.store %5, %y : {wide(n, c, 'f32')}, memref<?x{n}x{c}xf32>""")


def source():
    text = [boundary(4, 64, False), boundary(4, 96, True), boundary(2, 33, False), boundary(1, 36, True), boundary(8, 40, False),
            boundary(3, 258, True), boundary(4, 512, False)]
    for args in ((4, 64, 1, 24, False, "bf16"), (4, 40, 1, 24, True, "bf16"), (2, 33, 2, 5, False, "f32"), (2, 36, 2, 6, True, "f32"), (8, 34, 1, 80, False, "bf16"),
                 (8, 32, 2, 80, True, "f32"), (1, 300, 1, 3, False, "bf16"), (4, 128, 4, 2, True, "bf16"), (1, 1, 1, 1, False, "f32"), (4, 1024, 1, 24, False, "bf16")):
        text.append(backward(*args))
    for c in (2, 31, 256, 1000):
        text += [lookup(c), lookup(c, "19")]
    text += [softmax(33, 1), softmax(256, 3), softmax(5, 2), softmax(1024, 1)]
    return "\n".join(text)


if __name__ == "__main__":
    print(source())
