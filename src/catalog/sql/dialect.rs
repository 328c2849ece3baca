//! From the SQL that every transaction is written in, which SQLite takes as it is, to PostgreSQL's.
//!
//! What a function of the same name can do is one (`postgres/schema_1.sql`: `iif`, `max` of two, `hex`, `json_extract`, `->>` on text, …).
//! What is left is syntax, and done here.

/// The text as PostgreSQL takes it.
#[must_use]
pub fn postgres(sql: &str) -> String {
    let ignore = sql.contains("INSERT OR IGNORE INTO");
    let sql = sql
        .replace("INSERT OR IGNORE INTO", "INSERT INTO")
        // A planner that knows the numbers chooses by itself.
        .replace(" INDEXED BY artifacts_hash", "")
        .replace("CROSS JOIN artifacts a ON ", "JOIN artifacts a ON ")
        .replace(" GLOB ", " OPERATOR(outputfs.~~~) ")
        .replace("json_array(", "json_build_array(");
    let mut text = numbered(&sql);
    if ignore {
        text.push_str(" ON CONFLICT DO NOTHING");
    }
    text
}

/// `?` is the number after the largest so far, `?N` is N.
fn numbered(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len() + 16);
    let (mut largest, mut quoted) = (0_u32, false);
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        quoted ^= c == '\'';
        if c != '?' || quoted {
            text.push(c);
            continue;
        }
        let mut number = 0;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            number = number * 10 + digit;
            chars.next();
        }
        if number == 0 {
            number = largest + 1;
        }
        largest = largest.max(number);
        text.push('$');
        text.push_str(&number.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_as_sqlite_does() {
        assert_eq!(postgres("SELECT ?, ?3, ?, ?1, '?'"), "SELECT $1, $3, $4, $1, '?'");
        assert_eq!(
            postgres("UPDATE b SET state = ? WHERE hash = ? AND state < ?1"),
            "UPDATE b SET state = $1 WHERE hash = $2 AND state < $1"
        );
    }

    #[test]
    fn what_exists_is_left_alone() {
        assert_eq!(
            postgres("INSERT OR IGNORE INTO t(a) VALUES (?)"),
            "INSERT INTO t(a) VALUES ($1) ON CONFLICT DO NOTHING"
        );
        assert_eq!(postgres("SELECT 1 WHERE m.value GLOB ?"), "SELECT 1 WHERE m.value OPERATOR(outputfs.~~~) $1");
    }
}
