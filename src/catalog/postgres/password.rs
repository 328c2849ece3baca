//! Passwords that stand where others do not see them, as libpq finds them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::PORT;
use crate::artifact::{Error, Result};

pub fn find(config: &Config) -> Result<Option<String>> {
    let said = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    if let Some(password) = said("PGPASSWORD") {
        return password.into_string().map(Some).map_err(|_| Error::invalid("PGPASSWORD must be UTF-8"));
    }
    match (said("PGPASSFILE"), said("HOME")) {
        (Some(file), _) => of_file(&PathBuf::from(file), config),
        (None, Some(home)) => {
            let file = Path::new(&home).join(".pgpass");
            if file.exists() { of_file(&file, config) } else { Ok(None) }
        }
        (None, None) => Ok(None),
    }
}

fn of_file(path: &Path, config: &Config) -> Result<Option<String>> {
    let about = std::fs::metadata(path).map_err(|e| Error::io(path, &e))?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(Error::invalid(format!("{}: others may read the passwords in it: chmod 600 it", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, &e))?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(_)) | None => String::from("localhost"),
    };
    let port = config.get_ports().first().unwrap_or(&PORT).to_string();
    let user = config.get_user().unwrap_or_default();
    Ok(of_lines(&text, [&host, &port, config.get_dbname().unwrap_or(user), user]))
}

/// Of the first line `host:port:database:user:password` that fits; `*` fits everything.
fn of_lines(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields(line);
        let password = if fields.len() == 5 { fields.pop()? } else { return None };
        let fits = fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        fits.then_some(password)
    })
}

/// Between colons; `\` takes the meaning from a colon or from itself.
fn fields(line: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let last = all.len() - 1;
        match c {
            ':' if all.len() < 5 => all.push(String::new()),
            '\\' => all[last].extend(chars.next()),
            c => all[last].push(c),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let text = "# h:1:d:u:comment\nother:*:*:*:no\nh:5432:d:u:a\\:b\\\\c\n*:*:*:*:last\n";
        assert_eq!(of_lines(text, ["h", "5432", "d", "u"]).as_deref(), Some("a:b\\c"));
        assert_eq!(of_lines(text, ["h", "5433", "d", "u"]).as_deref(), Some("last"));
        assert_eq!(of_lines("h:1:d\n", ["h", "1", "d", "u"]), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        std::fs::write(&path, "*:*:*:*:secret\n").unwrap();
        let config: Config = "postgres://u@h/d".parse().unwrap();
        for (mode, fits) in [(0o644, false), (0o600, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match of_file(&path, &config) {
                Ok(found) => assert_eq!((found.as_deref(), fits), (Some("secret"), true)),
                Err(e) => assert!(!fits && e.message.contains("chmod 600"), "{e}"),
            }
        }
    }
}
