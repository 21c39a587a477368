//! What a request weighs: its future is allocated when its head is there, and held until the answer's head is out. (An idle
//! connection has none: ten thousand of them would hold room for 80 MiB.)
#![allow(missing_docs)]

fn size<F, A, B, C>(_: impl Fn(A, B, C) -> F) -> usize {
    std::mem::size_of::<F>()
}

#[test]
fn a_request_stays_small() {
    let handle = size(bowsprit_sidecar::proxy::handle);
    assert!(handle <= 7 << 10, "the future of a request is {handle} bytes");
    let body = std::mem::size_of::<bowsprit_sidecar::proxy::Body>();
    assert!(body <= 40, "a response body is {body} bytes");
}
