//! The files in `packaging/`: settings that the program understands, one port from the settings to the
//! outside, paths that are served, nobody with rights.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::{PROGRAM, read, root};

/// The settings as the program understands them, by their names; what is not set has its default.
fn understood(text: &str, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sekisho.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["config", "show", "--config", file.to_str().unwrap()]);
    let shown = command.envs(variables.iter().copied()).output().unwrap();
    assert!(shown.status.success(), "{text}\n{}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8(shown.stdout).unwrap();
    let settings = shown.lines().filter_map(|line| {
        let (name, rest) = line.trim_start_matches("# ").split_once(" = ")?;
        let value = rest.split("  #").next()?.trim_matches('"');
        Some((name.to_owned(), value.to_owned()))
    });
    // The first of a name is that of the table which stands first.
    settings.fold(BTreeMap::new(), |mut all, (name, value)| {
        all.entry(name).or_insert(value);
        all
    })
}

fn port(settings: &BTreeMap<String, String>) -> &str {
    settings["listen"].rsplit(':').next().unwrap()
}

/// The values of `name` in a file of lines `name=value` or `name: value`.
fn said<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim_start().trim_start_matches("- ").strip_prefix(name)?;
            Some(rest.strip_prefix(['=', ':', ' '])?.trim().trim_matches('"'))
        })
        .collect()
}

/// What follows `key: |` in YAML, without what it is indented by.
fn block(text: &str, key: &str) -> String {
    let (_, after) = text.split_once(&format!("{key}: |\n")).unwrap();
    let lines = after.lines().take_while(|line| line.is_empty() || line.starts_with("  "));
    lines.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_unit_starts_the_program_and_lets_it_stop_in_time() {
    let unit = read("packaging/systemd/sekisho.service");
    let (program, arguments) = said(&unit, "ExecStart")[0].split_once(' ').unwrap();
    assert_eq!(program, "/usr/bin/sekisho");
    let (command, file) = arguments.rsplit_once(' ').unwrap();
    assert_eq!((command, file), ("serve --config", "/etc/sekisho/sekisho.toml"));
    assert_eq!(said(&unit, "User"), said(&unit, "Group"));
    let user = read("packaging/systemd/sekisho.sysusers");
    assert!(user.contains(&format!("u {} ", said(&unit, "User")[0])), "the user is made: {user}");

    let settings = understood(&read("packaging/debian/sekisho.toml"), &[]);
    let state = format!("/var/lib/{}/", said(&unit, "StateDirectory")[0]);
    for name in ["store", "key_file"] {
        assert!(settings[name].contains(&state), "{name} is where the unit may write");
    }
    let wrong = crate::sekisho(&["serve", "--config", "/nowhere.toml"]).status.code().unwrap();
    assert_eq!(said(&unit, "RestartPreventExitStatus"), [wrong.to_string()]);
    let drain: u32 = settings["drain"].trim_end_matches('s').parse().unwrap();
    let patience: u32 = said(&unit, "TimeoutStopSec")[0].parse().unwrap();
    assert!(patience > drain + 5, "{patience} s are enough for a stop of {drain} s");
}

#[test]
fn the_debian_package_has_all_that_is_made() {
    let manifest = read("crates/sekisho-cli/Cargo.toml");
    let (_, package) = manifest.split_once("[package.metadata.deb]").unwrap();
    for asset in package.split('"').filter(|text| text.starts_with("../../")) {
        let path = asset.strip_prefix("../../").unwrap();
        let is_made = path.starts_with("target/generated/");
        assert!(is_made || root().join(path).exists(), "{path} is there");
    }
    for made in ["man/*.1", "completions/sekisho.bash", "completions/_sekisho", "sekisho.cdx.json"]
    {
        assert!(package.contains(&format!("target/generated/{made}\"")), "{made} is shipped");
    }
    assert!(package.contains("\"etc/sekisho/sekisho.toml\""), "where the unit looks for it");
    // The unit, and the user by the file beside it.
    assert!(package.contains("unit-scripts = \"../../packaging/systemd\""));
}

#[test]
fn the_image_runs_the_program_as_nobody_in_particular() {
    let image = read("packaging/container/Dockerfile");
    let (_, last) = image.rsplit_once("\nFROM scratch\n").unwrap();
    let user: u32 = said(last, "USER")[0].split(':').next().unwrap().parse().unwrap();
    assert_ne!(user, 0, "not root");
    assert!(last.contains("CMD [\"serve\", \"--config\", \"/etc/sekisho/sekisho.toml\"]"));
    assert!(last.contains("COPY packaging/container/sekisho.toml /etc/sekisho/sekisho.toml"));
    // It would go before the file that somebody mounts.
    assert!(!last.contains("ENV SEKISHO_"), "no setting is in the image's environment");

    let settings = understood(&read("packaging/container/sekisho.toml"), &[]);
    assert_eq!(said(last, "EXPOSE"), [port(&settings)]);
    assert!(settings["listen"].starts_with("0.0.0.0:"), "reachable from outside the container");
    let state = said(last, "VOLUME")[0];
    for name in ["store", "key_file"] {
        assert!(settings[name].contains(&format!("{state}/")), "{name} is in {state}");
    }
    assert!(last.contains(&format!("--chown={user}:")) && last.contains(&format!(" {state}\n")));
}

#[test]
fn the_compose_file_and_its_settings_fit_the_program() {
    let compose = read("packaging/compose/compose.yaml");
    let ours = compose.split("\n  keycloak:").next().unwrap();
    let variables: Vec<_> = ours
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("SEKISHO_"))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .map(|(name, value)| (name, value.replace("${POSTGRES_PASSWORD:?see README.md}", "x")))
        .collect();
    assert_eq!(variables.len(), 2, "the variables were found: {variables:?}");
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let settings = understood(&read("packaging/compose/sekisho.toml"), &variables);
    assert!(settings["store"].starts_with("postgres://"), "the variable counts");
    assert!(settings["issuer"].starts_with("http://localhost:8080/"), "Keycloak's port outside");
    assert!(compose.contains("- \"127.0.0.1:8080:8080\""));
    let port = port(&settings);
    assert!(compose.contains(&format!("- \"127.0.0.1:{port}:{port}\"")), "{port} is published");
    assert!(settings["public_url"].ends_with(&format!(":{port}")));
    assert!(ours.contains("cap_drop: [\"ALL\"]") && ours.contains("read_only: true"));
}

#[test]
fn the_chart_fits_the_program() {
    let values = block(&read("packaging/chart/values.yaml"), "settings");
    let deployment = read("packaging/chart/templates/deployment.yaml");
    let settings = understood(&values, &[]);
    assert_eq!(said(&deployment, "containerPort"), [port(&settings)]);
    let state = "/var/lib/sekisho";
    assert!(said(&deployment, "mountPath").contains(&state));
    for name in ["store", "key_file"] {
        assert!(settings[name].contains(&format!("{state}/")), "{name} is on the volume");
    }
    let image = read("packaging/container/Dockerfile");
    let user = said(&image, "USER")[0].split(':').next().unwrap();
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(said(&deployment, name), [user], "{name} is who the image makes its folder for");
    }
    assert_eq!(
        said(&read("packaging/chart/Chart.yaml"), "appVersion"),
        [env!("CARGO_PKG_VERSION")]
    );
    let more = understood(&block(&read("docs/guides/install.md"), "settings"), &[]);
    assert_eq!(said(&deployment, "mountPath")[2], more["key_file"].rsplit_once('/').unwrap().0);

    let paths: Vec<_> = said(&deployment, "httpGet");
    assert_eq!(paths.len(), 3, "the probes were found");
    for path in paths {
        let path = path.split("path: ").nth(1).unwrap().split(',').next().unwrap();
        assert_eq!(status(&values, path), 200, "{path} is served");
    }
}

/// What the program answers at `path` under these settings, as a probe asks that knows no name.
fn status(settings: &str, path: &str) -> u16 {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(folder.path().join("sekisho.toml"), settings).unwrap();
    let mut program = Command::new(PROGRAM)
        .args(["serve", "--store", "memory:"])
        .env("SEKISHO_LISTEN", format!("127.0.0.1:{port}"))
        .env("SEKISHO_KEY_FILE", folder.path().join("sekisho.key"))
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(program.stdout.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut said, &mut line).unwrap(), 0, "it listens");
    }
    let mut answer = String::new();
    let mut probe = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(probe, "GET {path} HTTP/1.1\r\nHost: 10.1.2.3:8000\r\nConnection: close\r\n\r\n")
        .unwrap();
    probe.read_to_string(&mut answer).unwrap();
    program.kill().unwrap();
    program.wait().unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
