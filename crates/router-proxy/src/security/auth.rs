//! Authentication by API key, and authorization by role.

use crate::error::ProxyError;
use http::{HeaderMap, HeaderName, header};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use router_config::{Credential, Role};
use std::fmt;
use std::net::IpAddr;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

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
    /// A user key, or any request when no user key is configured.
    User,
    /// An admin key, or a local request when no key is configured.
    Admin,
}

/// Headers by which a proxy says that it forwards the request of another client.
static FORWARDED: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// Checks the key of each request.
#[derive(Debug, Default)]
pub(crate) struct Authenticator {
    keys: AcceptedKeys,
    /// Whether the admin routes have their own port.
    admin_port: bool,
}

impl Authenticator {
    pub(crate) fn new(credentials: &[Credential], admin_port: bool) -> Self {
        Self { keys: AcceptedKeys::new(credentials), admin_port }
    }

    /// Checks that the key in `headers` has the required role. An accepted key is removed from `headers`, so that it is
    /// not forwarded to a worker.
    ///
    /// # Errors
    /// [`ProxyError::Unauthorized`], [`ProxyError::Forbidden`], or [`ProxyError::NotServed`] for an admin route on the main
    /// port when it has its own.
    pub(crate) fn authorize(
        &self,
        peer: Peer,
        required: RequiredRole,
        headers: &mut HeaderMap,
    ) -> Result<(), ProxyError> {
        match (peer.listener, required) {
            (ListenerKind::Main, RequiredRole::Admin) if self.admin_port => {
                return Err(ProxyError::NotServed("the admin routes have their own port"));
            }
            _ => {}
        }
        let role = self.authenticate(headers);
        match (required, role) {
            (RequiredRole::Anyone, _) | (_, Some(Role::Admin)) | (RequiredRole::User, Some(Role::User)) => {
                Ok(())
            }
            (RequiredRole::User, None) if !self.keys.any(Role::User) => Ok(()),
            (RequiredRole::User, None) => Err(ProxyError::Unauthorized),
            (RequiredRole::Admin, _) if self.keys.any(Role::Admin) => Err(ProxyError::Unauthorized),
            (RequiredRole::Admin, None) if self.keys.any(Role::User) => Err(ProxyError::Unauthorized),
            (RequiredRole::Admin, _) if is_local(peer, headers) => Ok(()),
            (RequiredRole::Admin, _) => Err(ProxyError::Forbidden),
        }
    }

    /// The role of the key in `Authorization: Bearer KEY`; removes the header if the key is accepted.
    fn authenticate(&self, headers: &mut HeaderMap) -> Option<Role> {
        if self.keys.0.is_empty() {
            return None;
        }
        let value = headers.get(header::AUTHORIZATION)?.as_bytes();
        let (scheme, key) = value.split_at_checked(7)?;
        let role = scheme.eq_ignore_ascii_case(b"bearer ").then(|| self.keys.role(key.trim_ascii()))??;
        headers.remove(header::AUTHORIZATION);
        Some(role)
    }
}

/// Whether the request comes from a user of this machine: not through a proxy on it, which forwards requests of others,
/// and not from a web page, which may be of any site.
fn is_local(peer: Peer, headers: &HeaderMap) -> bool {
    let elsewhere = FORWARDED.iter().any(|name| headers.contains_key(name));
    peer.address.to_canonical().is_loopback() && !elsewhere && !headers.contains_key(header::ORIGIN)
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

    /// `+` if authorized, else the status code, for each required role: anyone, user, admin.
    fn verdicts(authenticator: &Authenticator, peer: &str, all: &[(&'static str, &str)]) -> String {
        let peer = Peer { address: peer.parse().unwrap(), listener: ListenerKind::Main };
        let verdict = |required| match authenticator.authorize(peer, required, &mut headers(all)) {
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
        assert_eq!(verdicts(&authenticator, "127.0.0.1", &[("x-forwarded-for", "1.2.3.4")]), "+ + 403");
        assert_eq!(verdicts(&authenticator, "127.0.0.1", &[("origin", "https://evil.example")]), "+ + 403");
    }

    #[test]
    fn key_allows_what_its_role_allows() {
        let both =
            Authenticator::new(&keys(Some("client"), &["1:ops:admin:boss", "2:app:user:other:colon"]), false);
        let client = Authenticator::new(&keys(Some("client"), &[]), false);
        let admin = Authenticator::new(&keys(None, &["1:ops:Admin:boss"]), false);
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
    fn only_accepted_keys_are_removed() {
        let authenticator = Authenticator::new(&keys(None, &["1:ops:admin:boss"]), false);
        let peer = Peer { address: "10.0.0.7".parse().unwrap(), listener: ListenerKind::Main };
        for (bearer, left) in [("Bearer boss", false), ("Bearer engine-key", true)] {
            let mut headers = headers(&[("authorization", bearer)]);
            authenticator.authorize(peer, RequiredRole::User, &mut headers).unwrap();
            assert_eq!(headers.contains_key(header::AUTHORIZATION), left, "{bearer}");
        }
    }
}
