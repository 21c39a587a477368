//! What a request weighs: the future of one request is held by every open connection, idle ones too, and moved once a
//! request. Ten thousand connections must fit into 250 MiB.
#![allow(missing_docs)]

fn size<F, A, B>(_: impl Fn(A, B) -> F) -> usize {
    std::mem::size_of::<F>()
}

#[test]
fn a_request_stays_small() {
    let handle = size(bowsprit_sidecar::proxy::handle);
    assert!(handle <= 8 << 10, "the future of a request is {handle} bytes");
    let body = std::mem::size_of::<bowsprit_sidecar::body::Body>();
    assert!(body <= 40, "a response body is {body} bytes");
}
