//! An order to one sidecar, which takes it from inside its pod alone: that is what a forwarded port is.

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::Sidecar;

/// What a sidecar answers to an order at most.
const MAX_ANSWER: usize = 64 << 10;

/// What became of an order at one sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It was done, with so many; and what of it is still to be done, with why.
    Did(u64, Vec<String>),
    /// It does not have what was named, but these.
    NotThere(Vec<String>),
    /// It was not reached, or did not do it.
    Failed(String),
}

/// The fields of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    /// Counts what was done.
    pub did: &'static str,
    /// Lists what there is, where what was named is not.
    pub there_are: &'static str,
    /// Lists what of it is still to be done.
    pub undone: &'static str,
}

/// Posts an order to a sidecar. An error is one that every sidecar would meet: this program may not reach them.
pub(crate) async fn order(cluster: &Cluster, sidecar: &Sidecar, to: &Uri, fields: Fields) -> Result<Said, Failure> {
    if let Some(why) = &sidecar.not_running {
        return Ok(Said::Failed(why.clone()));
    }
    let request = Request::post(to)
        .header("host", format!("127.0.0.1:{}", sidecar.admin_port))
        .body(Full::<Bytes>::default())
        .map_err(|error| Failure::Usage(format!("no request for {to}: {error}")))?;
    match cluster.inside(sidecar, sidecar.admin_port, request, MAX_ANSWER).await {
        Ok(Ok((status, body))) => Ok(read(status, &body, fields)),
        Ok(Err(why)) => Ok(Said::Failed(why)),
        Err(failure) if failure.is_forbidden() => Err(failure),
        Err(failure) => Ok(Said::Failed(failure.to_string())),
    }
}

/// What an answer says.
pub(crate) fn read(status: u16, body: &[u8], fields: Fields) -> Said {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let did = value.get(fields.did).and_then(serde_json::Value::as_u64);
    let list = |field: &str| -> Option<Vec<String>> {
        let list = value.get(field)?.as_array()?.iter();
        Some(list.filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect())
    };
    match (status, did, list(fields.there_are)) {
        (200, Some(did), _) => Said::Did(did, list(fields.undone).unwrap_or_default()),
        (404, _, Some(names)) => Said::NotThere(names),
        _ => Said::Failed(format!("HTTP {status}: {}", String::from_utf8_lossy(body).trim())),
    }
}
