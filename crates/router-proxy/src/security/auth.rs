//! Keys: who may send requests, and who may run the router.

use crate::admin::Endpoint;
use crate::error::ProxyError;
use http::{HeaderMap, HeaderName, header};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use router_config::{Credential, Role};
use std::fmt;
use std::net::IpAddr;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// What of a key is kept: its hash, which cannot be turned back and has one length for all keys.
struct HashedKey {
    hash: [u8; SHA256_OUTPUT_LEN],
    role: Role,
}

/// All keys that are accepted.
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

    /// The role of a key, if it is one of ours. Every key is compared, so that the time taken tells nothing.
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

/// Which of the router's ports a request came in by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// The one for clients.
    Main,
    /// The one for the admin routes alone.
    Admin,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) peer: IpAddr,
    pub(crate) door: Door,
}

/// Who may ask for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Everybody: probes carry no keys, and the answer tells no more than counts.
    Open,
    /// Whoever has a client's key, if there are any.
    Client,
    /// Whoever runs the router.
    Admin,
}

impl Access {
    /// What `endpoint` asks for; a request for a worker has none.
    pub(crate) const fn to(endpoint: Option<Endpoint>) -> Self {
        match endpoint {
            Some(Endpoint::Liveness | Endpoint::Readiness) => Self::Open,
            None | Some(Endpoint::Models | Endpoint::Info(_) | Endpoint::Metrics | Endpoint::Abort) => {
                Self::Client
            }
            Some(Endpoint::Loads | Endpoint::Workers(_) | Endpoint::Traces(_) | Endpoint::FlushCache) => {
                Self::Admin
            }
        }
    }
}

/// Headers by which a proxy says that it speaks for somebody else.
static FORWARDED: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// Lets requests in, or not.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    keys: AcceptedKeys,
    /// Whether admin routes have a port of their own.
    apart: bool,
}

impl Guard {
    pub(crate) fn new(credentials: &[Credential], apart: bool) -> Self {
        Self { keys: AcceptedKeys::new(credentials), apart }
    }

    /// Whether `visit` may have `access`. A key of ours that it showed is taken out of `headers`, because what is
    /// passed on must not carry it.
    pub(crate) fn admit(
        &self,
        visit: Visit,
        access: Access,
        headers: &mut HeaderMap,
    ) -> Result<(), ProxyError> {
        match (visit.door, access) {
            (Door::Main, Access::Admin) if self.apart => {
                return Err(ProxyError::NotHere("the admin routes have a port of their own"));
            }
            _ => {}
        }
        let role = self.recognise(headers);
        match (access, role) {
            (Access::Open, _) | (_, Some(Role::Admin)) | (Access::Client, Some(Role::User)) => Ok(()),
            (Access::Client, None) if !self.keys.any(Role::User) => Ok(()),
            (Access::Client, None) => Err(ProxyError::Unauthorized),
            (Access::Admin, _) if self.keys.any(Role::Admin) => Err(ProxyError::Unauthorized),
            (Access::Admin, None) if self.keys.any(Role::User) => Err(ProxyError::Unauthorized),
            (Access::Admin, _) if is_local(visit, headers) => Ok(()),
            (Access::Admin, _) => Err(ProxyError::Forbidden),
        }
    }

    /// The role of the key in `Authorization: Bearer KEY`.
    fn recognise(&self, headers: &mut HeaderMap) -> Option<Role> {
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

/// Whether a person on this machine asks. A proxy on this machine speaks for others, and a page in a browser for
/// whoever wrote it.
fn is_local(visit: Visit, headers: &HeaderMap) -> bool {
    let elsewhere = FORWARDED.iter().any(|name| headers.contains_key(name));
    visit.peer.to_canonical().is_loopback() && !elsewhere && !headers.contains_key(header::ORIGIN)
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

    /// `+` for let in, else the status of the refusal, by access: open, client, admin.
    fn verdicts(guard: &Guard, peer: &str, all: &[(&'static str, &str)]) -> String {
        let visit = Visit { peer: peer.parse().unwrap(), door: Door::Main };
        let verdict = |access| match guard.admit(visit, access, &mut headers(all)) {
            Ok(()) => "+".to_owned(),
            Err(error) => error.status().as_u16().to_string(),
        };
        [Access::Open, Access::Client, Access::Admin].map(verdict).join(" ")
    }

    #[test]
    fn without_keys_only_this_machine_runs_the_router() {
        let guard = Guard::default();
        assert_eq!(verdicts(&guard, "127.0.0.1", &[]), "+ + +");
        assert_eq!(verdicts(&guard, "::1", &[]), "+ + +");
        assert_eq!(verdicts(&guard, "::ffff:127.0.0.1", &[]), "+ + +");
        assert_eq!(verdicts(&guard, "10.0.0.7", &[]), "+ + 403");
        assert_eq!(verdicts(&guard, "127.0.0.1", &[("x-forwarded-for", "1.2.3.4")]), "+ + 403");
        assert_eq!(verdicts(&guard, "127.0.0.1", &[("origin", "https://evil.example")]), "+ + 403");
    }

    #[test]
    fn a_key_opens_what_its_role_may() {
        let both = Guard::new(&keys(Some("client"), &["1:ops:admin:boss", "2:app:user:other:colon"]), false);
        let client = Guard::new(&keys(Some("client"), &[]), false);
        let admin = Guard::new(&keys(None, &["1:ops:Admin:boss"]), false);
        for (guard, bearer, expected) in [
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
            assert_eq!(verdicts(guard, "127.0.0.1", &[("authorization", bearer)]), expected, "{bearer}");
        }
        assert_eq!(verdicts(&client, "127.0.0.1", &[]), "+ 401 401", "a proxy on this machine is no way in");
        assert_eq!(verdicts(&client, "10.0.0.7", &[("authorization", "Bearer client")]), "+ + 403");
    }

    #[test]
    fn only_a_key_of_ours_is_taken_out() {
        let guard = Guard::new(&keys(None, &["1:ops:admin:boss"]), false);
        let visit = Visit { peer: "10.0.0.7".parse().unwrap(), door: Door::Main };
        for (bearer, left) in [("Bearer boss", false), ("Bearer engine-key", true)] {
            let mut headers = headers(&[("authorization", bearer)]);
            guard.admit(visit, Access::Client, &mut headers).unwrap();
            assert_eq!(headers.contains_key(header::AUTHORIZATION), left, "{bearer}");
        }
    }
}
