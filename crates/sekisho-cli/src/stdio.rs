//! `sekisho stdio`: the guarded server over standard input and output. No OAuth: whoever starts a
//! process speaks for it, and gives it credentials by its environment (MCP "Authorization").

use sekisho::mcp::serve_stdio;

use crate::behind::{Behind, Guarded};
use crate::config::{Config, Server};
use crate::outcome::Failure;
use crate::{serve, telemetry};

/// Serves the server at `/`, else the first, until the input ends.
pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    telemetry::begin(&config.log);
    let behind = Behind::default();
    let (mut services, _) = behind.services(config, None, &Guarded::new(), |_, service| service);
    let chosen = chosen(config).and_then(|server| services.remove(server.resource.name.as_str()));
    let Some(service) = chosen else {
        return Err(Failure::Run("there is no server to serve".to_owned()));
    };
    let service = service?;
    let runtime = serve::runtime()?;
    let ended = runtime.block_on(async {
        let ended = serve_stdio(service, tokio::io::stdin(), tokio::io::stdout()).await;
        behind.end().await;
        ended
    });
    // A read of standard input that is still waiting must not keep the process.
    runtime.shutdown_background();
    ended.map_err(|error| {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Failure::BrokenPipe
        } else {
            Failure::because(&error)
        }
    })
}

fn chosen(config: &Config) -> Option<&Server> {
    let at_root = config.servers.iter().find(|server| server.resource.path == "/");
    at_root.or_else(|| config.servers.first())
}
