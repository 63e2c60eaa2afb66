//! TLS towards clients and towards workers, with certificates made here.

use crate::support::{options, post, router, start};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use router_config::Options;
use router_core::Registry;
use router_emulator::{Emulator, EmulatorConfig, SglangVersion};
use router_engine::EngineProfile;
use router_proxy::{Router, RunningRouter, StartError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority, and a certificate with its key that it vouches for, as files.
struct Issued {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

fn write(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn issue(name: &str) -> Issued {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let cert: Certificate = params.signed_by(&key, &issuer).unwrap();
    Issued {
        ca: write(&format!("{name}-ca.pem"), &issuer.pem()),
        cert: write(&format!("{name}-cert.pem"), &cert.pem()),
        key: write(&format!("{name}-key.pem"), &key.serialize_pem()),
    }
}

fn roots(ca: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    roots
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS with this certificate; it asks for one that `clients` vouches for where that is given.
fn server_config(own: &Issued, clients: Option<&Path>) -> ServerConfig {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(ca) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)), provider()).build().unwrap(),
        ),
        None => builder.with_no_client_auth(),
    };
    let cert = CertificateDer::from_pem_file(&own.cert).unwrap();
    builder.with_single_cert(vec![cert], PrivateKeyDer::from_pem_file(&own.key).unwrap()).unwrap()
}

/// A worker that speaks TLS, and asks for a certificate that `clients` vouches for where that is given.
async fn tls_worker(own: &Issued, clients: Option<&Path>) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(own, clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = acceptor.accept(socket).await else { return };
                let mut chunk = [0; 4096];
                while let Ok(n @ 1..) = socket.read(&mut chunk).await {
                    let head = String::from_utf8_lossy(&chunk[..n]);
                    let body = if head.starts_with("GET /health ") { "" } else { r#"{"over":"tls"}"# };
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if socket.write_all(answer.as_bytes()).await.is_err() || socket.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn to(address: SocketAddr) -> Options {
    Options { worker_urls: vec![format!("https://{address}")], ..options(&[]) }
}

#[tokio::test]
async fn refused_certificate_is_named() {
    let (own, other) = (issue("refused"), issue("trusted"));
    let worker = tls_worker(&own, None).await;
    let router = start(Options { ca_cert_paths: vec![other.ca.clone()], ..to(worker) }).await;
    let error = crate::support::last_error(&router).await;
    assert_eq!(error["reason"], "certificate");
    assert!(error["message"].as_str().unwrap().contains("--ca-cert-paths"), "{error}");
}

#[tokio::test]
async fn clients_can_speak_tls() {
    let own = issue("front");
    let worker =
        crate::support::worker(|mut incoming| async move { incoming.send_json(r#"{"a":1}"#).await }).await;
    let secure = Options {
        tls_cert_path: Some(own.cert.clone()),
        tls_key_path: Some(own.key.clone()),
        ..options(&[worker])
    };
    let router = router(secure).await;
    assert!(router.url().starts_with("https://"));
    let mut stream = trusting(&router, &own.ca).await.unwrap();
    let request = "POST /generate HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"a":1}"#), "{answer}");
    let plain = post(&router, "/generate", "{}").await;
    assert!(!plain.contains("200"), "plain HTTP is not answered there: {plain}");
}

/// A connection to the router, where `ca` vouches for its certificate.
async fn trusting(router: &RunningRouter, ca: &Path) -> std::io::Result<TlsStream<TcpStream>> {
    offering(router, ca, &[]).await
}

/// The same, by a client that offers these protocols.
async fn offering(
    router: &RunningRouter,
    ca: &Path,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let config =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots(ca)).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(router.address()).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn clients_choose_http2_by_alpn() {
    let own = issue("alpn");
    let worker =
        crate::support::worker(|mut incoming| async move { incoming.send_json(r#"{"a":1}"#).await }).await;
    let secure = Options {
        tls_cert_path: Some(own.cert.clone()),
        tls_key_path: Some(own.key.clone()),
        ..options(&[worker])
    };
    let both = router(secure.clone()).await;
    let stream = offering(&both, &own.ca, &["http/1.1", "h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://localhost/generate").body(()).unwrap();
    let (response, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(bytes::Bytes::from_static(b"{}"), true).unwrap();
    let mut response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.body_mut().data().await.unwrap().unwrap(), r#"{"a":1}"#);
    let stream = offering(&both, &own.ca, &["http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(offering(&both, &own.ca, &["spdy/3"]).await.is_err());
    let one = router(Options { disable_http2: true, ..secure }).await;
    let stream = offering(&one, &own.ca, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn renewed_certificate_serves_new_clients() {
    let (old, new) = (issue("old"), issue("new"));
    let (cert, key) = (write("renewed-cert.pem", ""), write("renewed-key.pem", ""));
    let copy = |from: &Path, to: &Path| std::fs::copy(from, to).map(drop).unwrap();
    copy(&old.cert, &cert);
    copy(&old.key, &key);
    let worker =
        crate::support::worker(|mut incoming| async move { incoming.send_json(r#"{"a":1}"#).await }).await;
    let secure =
        Options { tls_cert_path: Some(cert.clone()), tls_key_path: Some(key.clone()), ..options(&[worker]) };
    let router = router(secure).await;
    let mut kept = trusting(&router, &old.ca).await.unwrap();
    assert!(!router.reload_certificate().await.unwrap(), "nothing is new");
    // Half a renewal, and rubbish: both are named, and change nothing.
    copy(&new.cert, &cert);
    assert!(router.reload_certificate().await.unwrap_err().to_string().contains("renewed-cert.pem"));
    write("renewed-key.pem", "hush");
    let error = router.reload_certificate().await.unwrap_err().to_string();
    assert!(error.contains("renewed-key.pem") && !error.contains("hush"), "{error}");
    assert!(trusting(&router, &old.ca).await.is_ok());
    copy(&new.key, &key);
    assert!(router.reload_certificate().await.unwrap());
    assert!(trusting(&router, &new.ca).await.is_ok());
    assert!(trusting(&router, &old.ca).await.is_err(), "the old certificate is still shown");
    kept.write_all(b"POST /generate HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn tls_workers_are_verified() {
    let own = issue("worker");
    let address = tls_worker(&own, None).await;
    let router = router(Options { ca_cert_paths: vec![own.ca.clone()], ..to(address) }).await;
    for _ in 0..2 {
        let answer = post(&router, "/generate", "{}").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"over":"tls"}"#), "{answer}");
        assert_eq!(
            crate::support::header(&answer, "x-sglang-worker"),
            Some(format!("https://{address}").as_str())
        );
    }
    let stranger =
        Options { ca_cert_paths: vec![issue("stranger").ca], disable_health_check: true, ..to(address) };
    let wary = start(stranger).await;
    let answer = post(&wary, "/generate", "{}").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("worker_unreachable"), "{answer}");
}

#[tokio::test]
async fn client_certificate_is_sent_to_workers() {
    let (own, mine) = (issue("asking"), issue("client"));
    let address = tls_worker(&own, Some(&mine.ca)).await;
    let known = Options {
        ca_cert_paths: vec![own.ca.clone()],
        client_cert_path: Some(mine.cert.clone()),
        client_key_path: Some(mine.key.clone()),
        ..to(address)
    };
    let known = router(known).await;
    assert!(post(&known, "/generate", "{}").await.ends_with(r#"{"over":"tls"}"#));
    let without = Options { ca_cert_paths: vec![own.ca.clone()], disable_health_check: true, ..to(address) };
    let unknown = start(without).await;
    assert!(post(&unknown, "/generate", "{}").await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test]
async fn grpc_workers_are_verified_and_speak_http2() {
    let own = issue("grpc");
    let mut config = server_config(&own, None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let profile = EngineProfile::named("sglang_1.5b").unwrap();
    let config =
        EmulatorConfig { grpc_port: Some(0), version: SglangVersion::Stock, ..EmulatorConfig::new(profile) };
    let server = Emulator::start(config).await.unwrap();
    let behind = server.grpc_url().unwrap().replace("grpc://", "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(socket).await else { return };
                assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                let mut plain = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut plain).await;
            });
        }
    });
    let to = || Options { worker_urls: vec![format!("grpcs://{address}")], ..options(&[]) };
    let trusting = router(Options { ca_cert_paths: vec![own.ca.clone()], ..to() }).await;
    let asked = r#"{"text":"a","sampling_params":{"max_new_tokens":2}}"#;
    let answer = post(&trusting, "/generate", asked).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"text\":"), "{answer}");
    let wary = start(Options { ca_cert_paths: vec![issue("other").ca], ..to() }).await;
    assert_eq!(crate::support::last_error(&wary).await["reason"], "certificate");
}

/// Why a router with these options does not start. Nothing may be bound: the port that it asks for is taken.
async fn refusal(options: &Options) -> String {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options { port: taken.local_addr().unwrap().port(), ..options.clone() };
    match options.check(&Registry::builtin()) {
        Err(error) => error.to_string(),
        Ok(config) => match Router::start(config).await {
            Err(StartError::Config(error)) => error.to_string(),
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn invalid_files_are_named_at_start() {
    let own = issue("files");
    let other = issue("other");
    let no_pem = write("no.pem", "hush");
    for (cert, key, parts) in [
        (Some(&own.cert), None, &["--tls-key-path", "is required"][..]),
        (None, Some(&own.key), &["--tls-cert-path", "is required"]),
        (Some(&no_pem), Some(&own.key), &["--tls-cert-path", "no.pem"]),
        (Some(&own.cert), Some(&no_pem), &["--tls-key-path", "no.pem"]),
        (Some(&own.cert), Some(&other.key), &["files-cert.pem"]),
        (Some(&PathBuf::from("/no/such.pem")), Some(&own.key), &["/no/such.pem"]),
    ] {
        let options = Options {
            tls_cert_path: cert.cloned(),
            tls_key_path: key.cloned(),
            worker_urls: vec!["http://127.0.0.1:1".to_owned()],
            ..Options::default()
        };
        let error = refusal(&options).await;
        for part in parts {
            assert!(error.contains(part) && !error.contains("hush"), "{error}");
        }
    }
    let config = Options { ca_cert_paths: vec![no_pem], ..to("127.0.0.1:1".parse().unwrap()) };
    assert!(refusal(&config).await.contains("no.pem"));
    let fine = Options { ca_cert_paths: vec![own.ca], ..to("127.0.0.1:1".parse().unwrap()) };
    assert!(Router::start(fine.check(&Registry::builtin()).unwrap()).await.is_ok());
}
