//! Builds the client of an object store from its URL: the only place that does.

use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use tarn_runtime::Runtime;

use crate::error::OpenError;
use crate::local::LocalStore;
use crate::options::Options;
use crate::store::Store;

impl Store {
    /// Opens `file:///folder`, `memory:` or `s3://bucket/prefix`. Settings of S3 come from the usual
    /// `AWS_…` environment.
    pub fn open(url: &str, options: Options, runtime: &Runtime) -> Result<Store, OpenError> {
        open(url, options, runtime)
    }
}

fn open(url: &str, options: Options, runtime: &Runtime) -> Result<Store, OpenError> {
    let (scheme, rest) = url.split_once(':').ok_or_else(|| OpenError::UnknownUrl {
        url: url.to_owned(),
    })?;
    match scheme {
        "memory" => Ok(Store::new(
            Arc::new(object_store::memory::InMemory::new()),
            options,
            runtime,
        )),
        "file" => {
            let folder = rest.strip_prefix("//").unwrap_or(rest);
            if !folder.starts_with('/') {
                return Err(OpenError::UnknownUrl {
                    url: url.to_owned(),
                });
            }
            let folder = LocalStore::open(std::path::Path::new(folder), options.fsync, runtime)?;
            Ok(Store::local(folder, options, runtime))
        }
        "s3" => open_s3(url, rest, options, runtime),
        _ => Err(OpenError::UnknownUrl {
            url: url.to_owned(),
        }),
    }
}

fn open_s3(url: &str, rest: &str, options: Options, runtime: &Runtime) -> Result<Store, OpenError> {
    let error = |reason: String| OpenError::Client {
        url: url.to_owned(),
        reason,
    };
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| OpenError::UnknownUrl {
            url: url.to_owned(),
        })?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(error("it names no bucket".to_owned()));
    }
    let s3 = client(AmazonS3Builder::from_env().with_bucket_name(bucket))
        .map_err(|source| error(source.to_string()))?;
    let prefix = Path::parse(prefix).map_err(|source| error(source.to_string()))?;
    let objects: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
        Arc::new(s3)
    } else {
        Arc::new(PrefixStore::new(s3, prefix.clone()))
    };
    let base_url = format!("s3://{bucket}/{prefix}");
    Ok(Store::remote(
        objects,
        base_url.trim_end_matches('/').to_owned(),
        options,
        runtime,
    ))
}

/// `Store` retries, so the client must not: of several attempts it tells only the last one's answer, and
/// a put that was applied with its reply lost would then look like one that was refused for certain.
fn client(builder: AmazonS3Builder) -> Result<AmazonS3, object_store::Error> {
    let retry = RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    };
    builder.with_retry(retry).build()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    use bytes::Bytes;
    use object_store::ClientOptions;
    use tarn_model::Fate;

    use super::*;

    /// Answers 503 to the first request and 403 to all others.
    fn serve(listener: &TcpListener) {
        for (at, stream) in listener.incoming().enumerate() {
            let stream = stream.expect("a connection");
            let mut reader = BufReader::new(&stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).expect("a request") > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let status = if at == 0 {
                "503 Slow Down"
            } else {
                "403 Forbidden"
            };
            write!(
                &stream,
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            .expect("an answer");
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a server of the test, which ends with its process"
    )]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_put_that_may_have_been_applied_is_never_refused_for_certain() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || serve(&listener));
        let builder = AmazonS3Builder::new()
            .with_bucket_name("bucket")
            .with_endpoint(endpoint)
            .with_region("none")
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_client_options(ClientOptions::new().with_allow_http(true));
        let s3 = Arc::new(client(builder).expect("it builds"));
        let store = Store::new(s3, Options::default(), &Runtime::real());
        let error = store
            .put(&Path::from("a"), Bytes::from_static(b"x"))
            .await
            .expect_err("it is refused in the end");
        assert_eq!(error.fate(), Fate::Unknown, "{error}");
    }

    #[test]
    fn urls_that_name_no_store_are_refused() {
        let runtime = Runtime::real();
        for url in [
            "",
            "folder",
            "file:relative",
            "ftp://x",
            "s3:bucket",
            "s3://",
        ] {
            assert!(open(url, Options::default(), &runtime).is_err(), "{url}");
        }
    }

    #[test]
    fn a_bucket_with_a_prefix_and_one_without_open() {
        let runtime = Runtime::real();
        for url in [
            "s3://bucket",
            "s3://bucket/",
            "s3://bucket/some/prefix",
            "memory:",
        ] {
            open(url, Options::default(), &runtime).expect(url);
        }
    }
}
