//! Stand-in.

/// t
#[derive(Debug, Clone, Copy)]
pub struct TraceId(u128);
impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
/// t
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub std::net::IpAddr);
