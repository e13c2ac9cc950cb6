// flush(fl(a * b)): a product rounded once, magnitudes below 2^-126 being +0, on any driver.
//
// A driver may flush a product before or after it rounds. It matters for one interval: what lies below 2^-126 by at most
// half a subnormal step rounds up to 2^-126. That case is decided in integers. Factors are never subnormal.

//#import wide

fn product_flushed(a: f32, b: f32) -> f32 {
    let product = a * b;
    if ((bitcast<u32>(product) & 0x7fffffffu) >= 0x00800000u) {
        return product;
    }
    return bitcast<f32>(smallest_normal(bitcast<u32>(a), bitcast<u32>(b)));
}

/// Bits of +-2^-126 when the exact product is at least 2^-126 - 2^-150 in magnitude, else 0; for products below 2^-126.
fn smallest_normal(a: u32, b: u32) -> u32 {
    let exponent_a = (a >> 23u) & 0xffu;
    let exponent_b = (b >> 23u) & 0xffu;
    if (exponent_a == 0u || exponent_b == 0u || exponent_a + exponent_b != 127u) {
        return 0u;
    }
    // The mantissas have 24 bits each, and the product in question is at least 2^47 - 2^23.
    let product = multiply((a & 0x007fffffu) | 0x00800000u, (b & 0x007fffffu) | 0x00800000u);
    let enough = product.x > 0x7fffu || (product.x == 0x7fffu && product.y >= 0xff800000u);
    return select(0u, ((a ^ b) & 0x80000000u) | 0x00800000u, enough);
}
