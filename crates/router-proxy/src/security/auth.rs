//! Authentication by API key, and authorization by role.

use super::client_address::names_client;
use crate::error::{NotLocal, ProxyError};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Request, Version, header};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use router_config::{Credential, Role, SecurityConfig};
use std::fmt;
use std::net::IpAddr;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// The header by which browsers say how the site of the page relates to that of the request.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where Anthropic's clients put their key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A key as it is kept: its hash, which cannot be inverted and has the same length for all keys.
struct HashedKey {
    hash: [u8; SHA256_OUTPUT_LEN],
    role: Role,
}

/// All accepted keys.
#[derive(Default)]
struct AcceptedKeys(Vec<HashedKey>);

impl fmt::Debug for AcceptedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcceptedKeys({})", self.0.len())
    }
}

impl AcceptedKeys {
    fn new(credentials: &[Credential]) -> Self {
        let hashed = |c: &Credential| HashedKey { hash: hash(c.key.expose().as_bytes()), role: c.role };
        Self(credentials.iter().map(hashed).collect())
    }

    fn any(&self, role: Role) -> bool {
        self.0.iter().any(|k| k.role == role)
    }

    /// The role of a key, if it is accepted. It is compared with every key, so that timing reveals nothing.
    fn role(&self, key: &[u8]) -> Option<Role> {
        let hash = hash(key);
        let (mut user, mut admin) = (Choice::from(0), Choice::from(0));
        for known in &self.0 {
            let same = hash.ct_eq(&known.hash);
            let (to_user, to_admin) = match known.role {
                Role::User => (same, Choice::from(0)),
                Role::Admin => (Choice::from(0), same),
            };
            user |= to_user;
            admin |= to_admin;
        }
        match u8::conditional_select(&user.unwrap_u8(), &2, admin) {
            2 => Some(Role::Admin),
            1 => Some(Role::User),
            _ => None,
        }
    }
}

fn hash(key: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, key).as_ref());
    hash
}

/// Which port a request came in on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListenerKind {
    /// The main port.
    Main,
    /// The port of the admin routes alone.
    Admin,
}

/// The client of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) listener: ListenerKind,
}

/// The role that a route requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RequiredRole {
    /// None: health probes carry no keys, and the response reveals only counts.
    Anyone,
    /// None, but on the port of the admin routes: the page has no data of its own.
    Page,
    /// A user key, or any request when no user key is configured.
    User,
    /// An admin key, or a local request when no key is configured.
    Admin,
    /// The same, for what the router's own page does: without a key it may send the request, too.
    AdminByPage,
}

/// Checks the key of each request.
#[derive(Debug, Default)]
pub(crate) struct Authenticator {
    keys: AcceptedKeys,
    /// Whether the admin routes have their own port.
    admin_port: bool,
    /// Whether other machines may use the admin routes without a key.
    remote_admin: bool,
    /// Whether the router serves a page of its own.
    has_page: bool,
}

impl Authenticator {
    pub(crate) fn new(config: &SecurityConfig) -> Self {
        Self {
            keys: AcceptedKeys::new(&config.credentials),
            admin_port: config.admin.is_some(),
            remote_admin: config.remote_admin,
            has_page: config.dashboard,
        }
    }

    /// Checks that the key of `request` has the required role. An accepted key is removed from its headers, so that it is
    /// not forwarded to a worker.
    ///
    /// # Errors
    /// [`ProxyError::Unauthorized`], [`ProxyError::NotLocal`], or [`ProxyError::NotServed`] for an admin route on the main
    /// port when it has its own.
    pub(crate) fn authorize<B>(
        &self,
        peer: Peer,
        required: RequiredRole,
        request: &mut Request<B>,
    ) -> Result<(), ProxyError> {
        let is_on_admin_port = !matches!(required, RequiredRole::Anyone | RequiredRole::User);
        if is_on_admin_port && self.admin_port && peer.listener == ListenerKind::Main {
            return Err(ProxyError::NotServed("the admin routes have their own port"));
        }
        let role = self.authenticate(request.headers_mut());
        match (required, role) {
            (RequiredRole::Anyone | RequiredRole::Page, _)
            | (_, Some(Role::Admin))
            | (RequiredRole::User, Some(Role::User)) => Ok(()),
            (RequiredRole::User, None) if !self.keys.any(Role::User) => Ok(()),
            (RequiredRole::User, None) => Err(ProxyError::Unauthorized),
            (RequiredRole::Admin | RequiredRole::AdminByPage, role) => {
                self.check_without_admin_key(peer, required, role, request)
            }
        }
    }

    /// Checks a request for what only admins may, which has no admin key.
    fn check_without_admin_key<B>(
        &self,
        peer: Peer,
        required: RequiredRole,
        role: Option<Role>,
        request: &Request<B>,
    ) -> Result<(), ProxyError> {
        if self.keys.any(Role::Admin) || (role.is_none() && self.keys.any(Role::User)) {
            return Err(ProxyError::Unauthorized);
        }
        let by_page = required == RequiredRole::AdminByPage && self.has_page;
        let checked =
            if by_page && is_own_page(request.headers()) { Ok(()) } else { check_no_page(request.headers()) };
        let checked = checked.and_then(|()| match self.remote_admin {
            true => Ok(()),
            false => check_local(peer, request),
        });
        checked.map_err(ProxyError::NotLocal)
    }

    /// Checks whether `request` might use the admin routes, and leaves it as it is.
    ///
    /// # Errors
    /// Those of [`authorize`](Self::authorize).
    pub(crate) fn check_admin<B>(&self, peer: Peer, request: &Request<B>) -> Result<(), ProxyError> {
        let mut copy = Request::new(());
        (*copy.uri_mut(), *copy.version_mut()) = (request.uri().clone(), request.version());
        copy.headers_mut().clone_from(request.headers());
        self.authorize(peer, RequiredRole::Admin, &mut copy)
    }

    /// The role of the key in `Authorization: Bearer KEY` or `x-api-key: KEY`. The first header is removed if its key is
    /// accepted; the second one always, because it is of Anthropic's clients and no engine reads it.
    fn authenticate(&self, headers: &mut HeaderMap) -> Option<Role> {
        let api_key = headers.remove(API_KEY);
        if self.keys.0.is_empty() {
            return None;
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| self.keys.role(key.trim_ascii()))?
        });
        if bearer.is_some() {
            headers.remove(header::AUTHORIZATION);
        }
        bearer.or_else(|| self.keys.role(api_key?.as_bytes().trim_ascii()))
    }
}

/// Checks that the request comes from a user of this machine: not through a proxy on it, which forwards requests of
/// others, and not under a name that may be another site's.
fn check_local<B>(peer: Peer, request: &Request<B>) -> Result<(), NotLocal> {
    let headers = request.headers();
    if !peer.address.to_canonical().is_loopback() {
        return Err(NotLocal::Client);
    }
    // Some proxies add no header by default; nginx is one, but it speaks HTTP/1.0, as hardly any client does.
    if request.version() < Version::HTTP_11 || headers.keys().any(is_forwarding) {
        return Err(NotLocal::Forwarded);
    }
    let mut hosts = headers.get_all(header::HOST).iter().peekable();
    let in_target = request.uri().authority().is_none_or(is_local_host);
    let is_named = hosts.peek().is_some();
    let in_headers = hosts.all(|host| Authority::try_from(host.as_bytes()).is_ok_and(|a| is_local_host(&a)));
    if is_named && in_headers && in_target { Ok(()) } else { Err(NotLocal::Host) }
}

/// Checks that no web page sent the request: its site is not what the operator trusts.
fn check_no_page(headers: &HeaderMap) -> Result<(), NotLocal> {
    if headers.contains_key(header::ORIGIN) { Err(NotLocal::Page) } else { Ok(()) }
}

/// Whether a page that this router served sent the request. It has the host of the request as its origin, and that is an address or
/// `localhost`: another site can let its name lead here, but it cannot have such a name. A browser that says what site the page is of
/// says that it is the same.
fn is_own_page(headers: &HeaderMap) -> bool {
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().and_then(|value| value.to_str().ok());
        first.filter(|_| values.next().is_none())
    };
    let (Some(origin), Some(host)) = (only(&header::ORIGIN), only(&header::HOST)) else { return false };
    if headers.get_all(&FETCH_SITE).iter().any(|site| site.as_bytes() != b"same-origin") {
        return false;
    }
    let named = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_no_name = name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost");
    is_no_name && named.is_some_and(|named| named.eq_ignore_ascii_case(host))
}

/// Whether a proxy says by this header that it forwards the request of another client. Whether the proxy is trusted does not
/// matter: its client is not a user of this machine.
fn is_forwarding(name: &HeaderName) -> bool {
    *name == header::VIA || names_client(name)
}

/// Whether a host can only mean this machine: `localhost`, a loopback address, or the address that a router listens on to
/// be reachable at all addresses of its machine.
fn is_local_host(host: &Authority) -> bool {
    let name = host.host();
    let address =
        name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|a| a.to_canonical());
    let is_local = address.map_or_else(
        |_| name.eq_ignore_ascii_case("localhost"),
        |address| address.is_loopback() || address.is_unspecified(),
    );
    is_local && !host.as_str().contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use router_config::Secret;

    fn keys(client: Option<&str>, control_plane: &[&str]) -> Vec<Credential> {
        let entries: Vec<_> = control_plane.iter().map(|e| Secret::from((*e).to_owned())).collect();
        let mut keys = Credential::parse_list(&entries).unwrap();
        keys.extend(client.map(|key| Credential::new(Role::User, Secret::from(key.to_owned())).unwrap()));
        keys
    }

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn request(all: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        *request.headers_mut() = headers(all);
        request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("127.0.0.1:30000"));
        request
    }

    fn with_keys(credentials: Vec<Credential>) -> Authenticator {
        Authenticator::new(&SecurityConfig { credentials, ..SecurityConfig::default() })
    }

    /// `+` if authorized, else the status code, for each required role: anyone, user, admin.
    fn verdicts(authenticator: &Authenticator, peer: &str, all: &[(&'static str, &str)]) -> String {
        let peer = Peer { address: peer.parse().unwrap(), listener: ListenerKind::Main };
        let verdict = |required| match authenticator.authorize(peer, required, &mut request(all)) {
            Ok(()) => "+".to_owned(),
            Err(error) => error.status().as_u16().to_string(),
        };
        [RequiredRole::Anyone, RequiredRole::User, RequiredRole::Admin].map(verdict).join(" ")
    }

    #[test]
    fn local_requests_are_admin_without_keys() {
        let authenticator = Authenticator::default();
        assert_eq!(verdicts(&authenticator, "127.0.0.1", &[]), "+ + +");
        assert_eq!(verdicts(&authenticator, "::1", &[]), "+ + +");
        assert_eq!(verdicts(&authenticator, "::ffff:127.0.0.1", &[]), "+ + +");
        assert_eq!(verdicts(&authenticator, "10.0.0.7", &[]), "+ + 403");
        for header in [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("via", "1.1 proxy"),
            ("origin", "https://evil.example"),
        ] {
            assert_eq!(verdicts(&authenticator, "127.0.0.1", &[header]), "+ + 403", "{header:?}");
        }
    }

    #[test]
    fn host_must_be_this_machine() {
        let authenticator = Authenticator::default();
        for host in
            ["localhost", "LocalHost:30000", "127.0.0.1", "127.0.0.2:30000", "[::1]:30000", "0.0.0.0:30000"]
        {
            assert_eq!(verdicts(&authenticator, "127.0.0.1", &[("host", host)]), "+ + +", "{host}");
        }
        for host in
            ["evil.example", "router", "203.0.113.9", "localhost.evil.example", "localhost@evil", "", "a b"]
        {
            assert_eq!(verdicts(&authenticator, "127.0.0.1", &[("host", host)]), "+ + 403", "{host}");
        }
        let admin = |request: &mut Request<()>| {
            let peer = Peer { address: "127.0.0.1".parse().unwrap(), listener: ListenerKind::Main };
            authenticator.authorize(peer, RequiredRole::Admin, request).is_ok()
        };
        let mut absolute = request(&[]);
        *absolute.uri_mut() = "http://evil.example/workers".parse().unwrap();
        assert!(!admin(&mut absolute), "the target's host counts, too");
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(!admin(&mut old), "a bare nginx sends this");
    }

    /// Whether a request of a page is let in, as one of the page's buttons.
    fn button(config: &SecurityConfig, peer: &str, all: &[(&'static str, &str)]) -> bool {
        let peer = Peer { address: peer.parse().unwrap(), listener: ListenerKind::Main };
        let by_page = RequiredRole::AdminByPage;
        Authenticator::new(config).authorize(peer, by_page, &mut request(all)).is_ok()
    }

    #[test]
    fn buttons_of_the_own_page_work_without_a_key() {
        let config = SecurityConfig { dashboard: true, ..SecurityConfig::default() };
        let sent = |host, origin| button(&config, "127.0.0.1", &[("host", host), ("origin", origin)]);
        assert!(sent("127.0.0.1:30000", "http://127.0.0.1:30000"));
        assert!(sent("localhost:30000", "http://localhost:30000"));
        assert!(sent("[::1]:30000", "http://[::1]:30000"));
        assert!(!sent("127.0.0.1:30000", "http://127.0.0.1:8080"), "another program's page");
        assert!(!sent("evil.example:30000", "http://evil.example:30000"), "a name that leads here");
        assert!(!sent("127.0.0.1.evil.example:30000", "http://127.0.0.1.evil.example:30000"));
        assert!(!sent("10.0.0.7:30000", "http://10.0.0.7:30000"), "an address that is not this machine");
        assert!(!sent("user@127.0.0.1:30000", "http://user@127.0.0.1:30000"));
        assert!(!sent("127.0.0.1:30000", "null"));
        let own = [("host", "127.0.0.1:30000"), ("origin", "http://127.0.0.1:30000")];
        assert!(!button(&config, "10.0.0.7", &own), "another machine");
        for (name, value) in
            [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("via", "1.1 p")]
        {
            assert!(!button(&config, "127.0.0.1", &[own[0], own[1], (name, value)]), "{name}: {value}");
        }
        assert!(button(&config, "127.0.0.1", &[own[0], own[1], ("sec-fetch-site", "same-origin")]));
        let off = SecurityConfig::default();
        assert!(!button(&off, "127.0.0.1", &own), "there is no such page");
        let key = SecurityConfig { credentials: keys(None, &["1:ops:admin:boss"]), dashboard: true, ..off };
        assert!(!button(&key, "127.0.0.1", &own), "with an admin key the key alone counts");
    }

    #[test]
    fn own_page_may_do_nothing_but_its_buttons() {
        let config = SecurityConfig { dashboard: true, ..SecurityConfig::default() };
        let own = [("host", "127.0.0.1:30000"), ("origin", "http://127.0.0.1:30000")];
        assert_eq!(verdicts(&Authenticator::new(&config), "127.0.0.1", &own), "+ + 403");
    }

    #[test]
    fn names_of_others_lead_no_page_to_a_router_with_remote_admins() {
        let config = SecurityConfig { dashboard: true, remote_admin: true, ..SecurityConfig::default() };
        let sent = |host, origin| button(&config, "10.0.0.9", &[("host", host), ("origin", origin)]);
        assert!(sent("10.0.0.7:30000", "http://10.0.0.7:30000"), "an address cannot be another site's name");
        assert!(!sent("router.evil.example:30000", "http://router.evil.example:30000"));
    }

    #[test]
    fn page_and_admin_routes_are_on_the_admin_port_alone() {
        let authenticator = Authenticator { admin_port: true, has_page: true, ..Authenticator::default() };
        let on = |listener, required| {
            let peer = Peer { address: "127.0.0.1".parse().unwrap(), listener };
            authenticator
                .authorize(peer, required, &mut request(&[]))
                .map_err(|error| error.status().as_u16())
        };
        for required in [RequiredRole::Page, RequiredRole::Admin, RequiredRole::AdminByPage] {
            assert_eq!(on(ListenerKind::Main, required), Err(404), "{required:?}");
            assert_eq!(on(ListenerKind::Admin, required), Ok(()), "{required:?}");
        }
        assert_eq!(on(ListenerKind::Main, RequiredRole::Anyone), Ok(()));
    }

    #[test]
    fn key_allows_what_its_role_allows() {
        let both = with_keys(keys(Some("client"), &["1:ops:admin:boss", "2:app:user:other:colon"]));
        let client = with_keys(keys(Some("client"), &[]));
        let admin = with_keys(keys(None, &["1:ops:Admin:boss"]));
        for (authenticator, bearer, expected) in [
            (&both, "Bearer client", "+ + 401"),
            (&both, "bearer  other:colon ", "+ + 401"),
            (&both, "Bearer boss", "+ + +"),
            (&both, "Bearer clien", "+ 401 401"),
            (&both, "Bearer ", "+ 401 401"),
            (&both, "Basic client", "+ 401 401"),
            (&both, "client", "+ 401 401"),
            (&client, "Bearer client", "+ + +"),
            (&client, "Bearer boss", "+ 401 401"),
            (&admin, "Bearer boss", "+ + +"),
            (&admin, "Bearer engine-key", "+ + 401"),
        ] {
            assert_eq!(
                verdicts(authenticator, "127.0.0.1", &[("authorization", bearer)]),
                expected,
                "{bearer}"
            );
        }
        assert_eq!(
            verdicts(&client, "127.0.0.1", &[]),
            "+ 401 401",
            "a proxy on this machine is not authorized"
        );
        assert_eq!(verdicts(&client, "10.0.0.7", &[("authorization", "Bearer client")]), "+ + 403");
    }

    #[test]
    fn remote_admin_needs_no_key_where_none_is() {
        let remote = |credentials| {
            Authenticator::new(&SecurityConfig {
                credentials,
                remote_admin: true,
                ..SecurityConfig::default()
            })
        };
        let (open, client) = (remote(Vec::new()), remote(keys(Some("client"), &[])));
        let admin = remote(keys(None, &["1:ops:admin:boss"]));
        let named = ("host", "router.example:30000");
        assert_eq!(verdicts(&open, "10.0.0.7", &[]), "+ + +");
        assert_eq!(verdicts(&open, "10.0.0.7", &[named]), "+ + +");
        assert_eq!(verdicts(&open, "10.0.0.7", &[("origin", "https://evil.example")]), "+ + 403");
        assert_eq!(verdicts(&client, "10.0.0.7", &[]), "+ 401 401");
        assert_eq!(verdicts(&client, "10.0.0.7", &[("authorization", "Bearer client")]), "+ + +");
        assert_eq!(verdicts(&admin, "10.0.0.7", &[]), "+ + 401");
    }

    #[test]
    fn only_accepted_keys_are_removed() {
        let authenticator = with_keys(keys(None, &["1:ops:admin:boss"]));
        let peer = Peer { address: "10.0.0.7".parse().unwrap(), listener: ListenerKind::Main };
        for (bearer, left) in [("Bearer boss", false), ("Bearer engine-key", true)] {
            let mut request = request(&[("authorization", bearer)]);
            authenticator.authorize(peer, RequiredRole::User, &mut request).unwrap();
            assert_eq!(request.headers().contains_key(header::AUTHORIZATION), left, "{bearer}");
        }
    }
}
