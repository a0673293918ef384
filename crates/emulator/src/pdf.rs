//! A plain PDF of lines of text: as much of the format as a statement needs.

/// Lines on a page of US letter size at this font and leading.
const LINES_PER_PAGE: usize = 56;

/// A document with these lines, in a fixed-width font.
pub(crate) fn of_lines(lines: &[String]) -> Vec<u8> {
    let pages: Vec<&[String]> = lines.chunks(LINES_PER_PAGE).collect();
    let kids: Vec<String> = (0..pages.len()).map(|n| format!("{} 0 R", 4 + 2 * n)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>".to_owned(),
    ];
    for (number, page) in pages.iter().enumerate() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] \
             /Resources << /Font << /F1 3 0 R >> >> /Contents {} 0 R >>",
            5 + 2 * number
        ));
        let text: String = page.iter().map(|line| format!("({}) '\n", escaped(line))).collect();
        let content = format!("BT /F1 9 Tf 12 TL 54 738 Td\n{text}ET");
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
    }
    let mut file = "%PDF-1.4\n".to_owned();
    let mut places = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        places.push(file.len());
        file += &format!("{} 0 obj\n{object}\nendobj\n", number + 1);
    }
    let table = file.len();
    file += &format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for place in places {
        file += &format!("{place:010} 00000 n \n");
    }
    file += &format!(
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        objects.len() + 1
    );
    file.into_bytes()
}

/// Printable ASCII with the three special characters escaped.
fn escaped(line: &str) -> String {
    let mut text = String::new();
    for letter in line.chars() {
        match letter {
            '(' | ')' | '\\' => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            _ => text.push('?'),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_points_at_every_object() {
        let lines: Vec<String> = (0..120).map(|n| format!("line ({n}) \\ é")).collect();
        let file = String::from_utf8(of_lines(&lines)).expect("ASCII");
        let (body, tail) = file.rsplit_once("xref\n0 ").expect("a table");
        let entries = tail.lines().filter(|line| line.ends_with(" n "));
        for (number, entry) in entries.enumerate() {
            let place: usize = entry[..10].parse().expect("a place");
            assert!(body[place..].starts_with(&format!("{} 0 obj", number + 1)));
        }
        assert_eq!(file.matches("/Type /Page ").count(), 3);
        assert!(file.contains("(line \\(7\\) \\\\ ?)"));
    }
}
