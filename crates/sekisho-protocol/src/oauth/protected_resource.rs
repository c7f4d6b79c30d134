//! The guarded servers and the names they answer to (RFC 8707, RFC 9728).

use super::{Issuer, ResourceUri, ScopeSet};

/// One guarded MCP server: its canonical URI, its other names, its scopes.
///
/// Tokens are bound to the canonical URI. A token asked for under any name opens every transport of
/// the server, since all names are of the one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedResource {
    /// The name from the settings, shown to people.
    pub name: String,
    /// Starts and ends with a slash; `/` for the server at the root.
    pub path: String,
    /// The URL of Streamable HTTP.
    pub resource: ResourceUri,
    /// The URL of HTTP+SSE, and for the server at `/` the origin.
    pub aliases: Vec<ResourceUri>,
    /// What a token needs; also what is asked when a client names no scope.
    pub scopes: ScopeSet,
    /// What a token may have beside these: never given unasked, for single tools and the like.
    pub more_scopes: ScopeSet,
}

impl ProtectedResource {
    /// The server called `name`, mounted below `path` (with slashes at both ends).
    pub fn new(issuer: &Issuer, name: &str, path: &str, scopes: ScopeSet) -> Self {
        let at = |endpoint: &str| ResourceUri::new(issuer.endpoint(&format!("{path}{endpoint}")));
        let mut aliases = vec![at("sse")];
        if path == "/" {
            aliases.push(ResourceUri::new(issuer.as_str()));
        }
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            resource: at("mcp"),
            aliases,
            scopes,
            more_scopes: ScopeSet::default(),
        }
    }

    /// The same server, whose tokens may have these scopes too.
    #[must_use]
    pub fn with_more_scopes(self, scopes: &ScopeSet) -> Self {
        let more = scopes.iter().filter(|scope| !self.scopes.contains(scope));
        Self { more_scopes: ScopeSet::of(more), ..self }
    }

    /// All that a token may have.
    pub fn all_scopes(&self) -> ScopeSet {
        ScopeSet::of(self.every_scope())
    }

    fn every_scope(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().chain(self.more_scopes.iter())
    }

    /// Whether a client that writes `asked` means this server.
    pub fn is_named_by(&self, asked: &str) -> bool {
        self.names().any(|name| name.is_named_by(asked))
    }

    /// Every name, the canonical one first.
    pub fn names(&self) -> impl Iterator<Item = &ResourceUri> {
        std::iter::once(&self.resource).chain(&self.aliases)
    }

    /// The URL of the metadata document of RFC 9728 for the endpoint `mcp` or `sse`.
    pub fn metadata_url(&self, issuer: &Issuer, endpoint: &str) -> String {
        issuer.endpoint(&format!("/.well-known/oauth-protected-resource{}{endpoint}", self.path))
    }
}

/// All guarded servers of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedResources(Vec<ProtectedResource>);

/// The `resource` parameter names no server here, or several (`invalid_target`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("resource does not name exactly one server here")]
pub struct InvalidTarget;

impl ProtectedResources {
    /// The servers in the order of the settings.
    pub fn new(resources: Vec<ProtectedResource>) -> Self {
        Self(resources)
    }

    /// The server a request is for. Without `resource` (clients of 2025-03-26) it is the server at
    /// `/`, else the only one. Several spellings of one server are one server.
    ///
    /// # Errors
    /// When the answer is none or several.
    pub fn find(&self, asked: &[String]) -> Result<&ProtectedResource, InvalidTarget> {
        let Some((first, rest)) = asked.split_first() else { return self.default_resource() };
        let found = self.0.iter().find(|server| server.is_named_by(first)).ok_or(InvalidTarget)?;
        if rest.iter().all(|other| found.is_named_by(other)) {
            Ok(found)
        } else {
            Err(InvalidTarget)
        }
    }

    fn default_resource(&self) -> Result<&ProtectedResource, InvalidTarget> {
        match (self.0.iter().find(|server| server.path == "/"), self.0.as_slice()) {
            (Some(at_root), _) => Ok(at_root),
            (None, [only]) => Ok(only),
            (None, _) => Err(InvalidTarget),
        }
    }

    /// The servers in order.
    pub fn iter(&self) -> impl Iterator<Item = &ProtectedResource> {
        self.0.iter()
    }

    /// Every scope of every server.
    pub fn scopes(&self) -> ScopeSet {
        ScopeSet::of(self.0.iter().flat_map(ProtectedResource::every_scope))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn servers(paths: &[&str]) -> ProtectedResources {
        let issuer = Issuer::parse("http://localhost:8000").unwrap();
        let make = |path: &&str| ProtectedResource::new(&issuer, path, path, ScopeSet::of(["s"]));
        ProtectedResources::new(paths.iter().map(make).collect())
    }

    #[test]
    fn a_request_is_for_one_server() {
        let rows: &[(&[&str], &[&str], Option<&str>, &str)] = &[
            (&["/"], &[], Some("/"), "omitted: the one at the root"),
            (&["/a/", "/"], &[], Some("/"), "omitted: the one at the root, of two"),
            (&["/a/"], &[], Some("/a/"), "omitted: the only one"),
            (&["/a/", "/b/"], &[], None, "omitted: which of two?"),
            (&["/", "/a/"], &["http://localhost:8000/mcp"], Some("/"), "by its mcp URL"),
            (&["/", "/a/"], &["http://localhost:8000/sse"], Some("/"), "by its sse URL"),
            (&["/", "/a/"], &["http://localhost:8000"], Some("/"), "by the origin"),
            (&["/", "/a/"], &["http://localhost:8000/"], Some("/"), "by the origin with a slash"),
            (&["/", "/a/"], &["http://localhost:8000/a/mcp"], Some("/a/"), "the other one"),
            (&["/a/"], &["http://localhost:8000"], None, "the origin names only the root server"),
            (
                &["/"],
                &["http://localhost:8000/mcp", "http://localhost:8000/sse"],
                Some("/"),
                "two names of one",
            ),
            (
                &["/", "/a/"],
                &["http://localhost:8000/mcp", "http://localhost:8000/a/mcp"],
                None,
                "two servers",
            ),
            (&["/"], &["http://localhost:8000/other"], None, "nobody"),
            (&["/"], &["https://evil.example/mcp"], None, "elsewhere"),
            (&["/"], &["mcp"], None, "relative"),
            (&["/"], &["http://localhost:8000/mcp#f"], None, "a fragment"),
        ];
        for (paths, asked, expected, reason) in rows {
            let asked: Vec<String> = asked.iter().map(|&text| text.to_owned()).collect();
            let servers = servers(paths);
            let found = servers.find(&asked).ok().map(|server| server.path.as_str());
            assert_eq!(found, *expected, "{reason}");
        }
    }
}
