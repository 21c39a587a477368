//! What OpenTelemetry's environment variables say of spans: whether, which and where to.

use std::path::PathBuf;
use std::time::Duration;

use bowsprit_core::config::BaseUrl;
use bowsprit_core::trace::Sampler;
use http::{HeaderName, HeaderValue};

/// How long an export may take where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long spans wait for others at most.
const DELAY: Duration = Duration::from_secs(5);
/// Most spans that wait.
const QUEUE: usize = 2_048;
/// Most spans of one export.
const BATCH: usize = 512;

/// Spans are made, and go there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which traces are kept.
    pub sampler: Sampler,
    /// The collector, with the path that spans are posted to.
    pub endpoint: BaseUrl,
    /// Sent with every export.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// CA certificates that the collector's is checked against beside the system's, PEM.
    pub certificate: Option<PathBuf>,
    /// How long an export may take.
    pub timeout: Duration,
    /// How long spans wait for others at most.
    pub delay: Duration,
    /// Most spans that wait; more are dropped.
    pub queue: usize,
    /// How many make a batch that waits no longer.
    pub batch: usize,
    /// What is said of this process with every export.
    pub resource: Vec<(String, String)>,
}

impl Settings {
    /// As the variables have it; `None`: no spans are wanted. `variable` reads one.
    ///
    /// # Errors
    /// A variable's name and what is wrong with its value.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let variable = |name: &str| {
            variable(name)
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, variable(name)?)));
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let endpoint = match endpoint(&variable)? {
            Some(endpoint) if !is_off => endpoint,
            _ => return Ok(None),
        };
        let protocol = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
        if let Some((name, protocol)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
            return Err(format!(
                "{name}={protocol:?} is not spoken: use http/protobuf, and the collector's port for it (4318)"
            ));
        }
        let sampler = match variable("OTEL_TRACES_SAMPLER") {
            Some(name) => Sampler::named(&name, variable("OTEL_TRACES_SAMPLER_ARG").as_deref())
                .map_err(|error| format!("OTEL_TRACES_SAMPLER: {error}"))?,
            None => Sampler::default(),
        };
        let timeout = first(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]);
        let headers = first(["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]);
        let certificate = first([
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ]);
        let delay = variable("OTEL_BSP_SCHEDULE_DELAY").map(|delay| ("OTEL_BSP_SCHEDULE_DELAY", delay));
        let queue = count("OTEL_BSP_MAX_QUEUE_SIZE", &variable)?.unwrap_or(QUEUE);
        let batch = count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &variable)?.unwrap_or(BATCH);
        Ok(Some(Self {
            sampler,
            endpoint,
            headers: headers.map_or_else(|| Ok(Vec::new()), |(name, text)| read_headers(name, &text))?,
            certificate: certificate.map(|(_, path)| PathBuf::from(path)),
            timeout: timeout.map_or(Ok(TIMEOUT), millis)?,
            delay: delay.map_or(Ok(DELAY), millis)?,
            queue,
            batch: batch.min(queue),
            resource: resource(&variable)?,
        }))
    }
}

/// Where spans are posted to: as given for traces, or the signal's path below what is given for all.
fn endpoint(variable: &impl Fn(&str) -> Option<String>) -> Result<Option<BaseUrl>, String> {
    let read = |name: &str, text: &str| BaseUrl::parse(text).map_err(|error| format!("{name}={text:?} {error}"));
    let own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    if let Some(text) = variable(own) {
        return read(own, &text).map(Some);
    }
    let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let Some(text) = variable(all) else { return Ok(None) };
    let url = read(all, &text)?;
    let path = format!("{}/v1/traces", url.path());
    Ok(Some(url.with_path(path)))
}

fn millis((name, text): (&str, String)) -> Result<Duration, String> {
    let millis = text.parse().map(Duration::from_millis);
    millis.map_err(|_| format!("{name}={text:?} is no number of milliseconds"))
}

fn count(name: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Option<usize>, String> {
    let Some(text) = variable(name) else { return Ok(None) };
    match text.parse() {
        Ok(count @ 1..=65_536) => Ok(Some(count)),
        _ => Err(format!("{name}={text:?} is no number from 1 to 65536")),
    }
}

/// `key=value` pairs with commas between them, percent-encoded.
fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        // What is wrong is not quoted: it may be a secret.
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("{name}: write key=value pairs with commas between them"))?;
        let value =
            decoded(value.trim()).ok_or_else(|| format!("{name}: the value of {key:?} is not percent-encoded text"))?;
        Ok((key.trim().to_owned(), value))
    };
    let all = text.split(',').map(str::trim);
    all.filter(|text| !text.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = after.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

fn read_headers(name: &str, text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(key, value): (String, String)| {
        let wrong = || format!("{name}: {key:?} is no header that can be sent");
        let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((HeaderName::from_bytes(key.as_bytes()).map_err(|_| wrong())?, value))
    };
    pairs(name, text)?.into_iter().map(header).collect()
}

/// What is said of this process: the given attributes, a service's name before all.
fn resource(variable: &impl Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, String> {
    let name = "OTEL_RESOURCE_ATTRIBUTES";
    let mut resource = variable(name).map_or_else(|| Ok(Vec::new()), |text| pairs(name, &text))?;
    let service = variable("OTEL_SERVICE_NAME");
    if service.is_some() {
        resource.retain(|(key, _)| key != "service.name");
    }
    let mut add = |key: &str, value: String| {
        if resource.iter().all(|(known, _)| known != key) {
            resource.push((key.to_owned(), value));
        }
    };
    add("service.name", service.unwrap_or_else(|| "bowsprit-sidecar".into()));
    add("service.version", env!("CARGO_PKG_VERSION").into());
    add("telemetry.sdk.name", "bowsprit".into());
    add("telemetry.sdk.language", "rust".into());
    add("telemetry.sdk.version", env!("CARGO_PKG_VERSION").into());
    if let Some(pod) = variable("HOSTNAME") {
        add("service.instance.id", pod);
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn spans_are_made_where_there_is_somewhere_to_send_them() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(read(variables).unwrap().is_none(), "{variables:?}");
        }
        let url = |variables: &[(&str, &str)]| {
            let endpoint = read(variables).unwrap().unwrap().endpoint;
            format!("{}{}", endpoint.authority(), endpoint.path())
        };
        assert_eq!(url(&[ENDPOINT]), "collector:4318/v1/traces");
        assert_eq!(
            url(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://host/otlp/")]),
            "host/otlp/v1/traces"
        );
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:1/here");
        assert_eq!(url(&[ENDPOINT, own]), "other:1/here", "taken as it is");
    }

    #[test]
    fn headers_and_attributes_are_read_and_a_service_has_its_name() {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x-team=shop"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.namespace.name=shop,service.name=loses"),
            ("OTEL_SERVICE_NAME", "wins"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ]);
        let settings = settings.unwrap().unwrap();
        let headers: Vec<_> = settings
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(headers, [("api-key", b"a b".as_slice()), ("x-team", b"shop")]);
        assert!(settings.headers.iter().all(|(_, value)| value.is_sensitive()));
        let said = |key: &str| {
            let found = settings.resource.iter().find(|(known, _)| known == key);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(
            (said("service.name"), said("k8s.namespace.name")),
            (Some("wins"), Some("shop"))
        );
        assert_eq!(settings.timeout, Duration::from_millis(1_500));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_variable_and_never_with_a_secret() {
        for (name, value, says) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "use http/protobuf"),
            (
                "OTEL_TRACES_SAMPLER",
                "sometimes",
                "OTEL_TRACES_SAMPLER: \"sometimes\" is no sampler",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is no number of milliseconds"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "is no number from 1 to 65536"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hidden", "key=value pairs"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=hidden%2",
                "is not percent-encoded",
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=hidden%0A",
                "is no header that can be sent",
            ),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "collector:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            ),
        ] {
            let error = read(&[ENDPOINT, (name, value)]).unwrap_err();
            assert!(error.contains(says) && !error.contains("hidden"), "{error}");
        }
    }
}
