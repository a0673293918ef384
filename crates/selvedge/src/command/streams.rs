//! `selvedge streams`: what the streams are made of, as a picture drawn from their declarations.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use model::{Declaration, FieldKind, STREAMS};

/// Sizes of the picture, in pixels.
const BOX_WIDTH: usize = 250;
const GAP: usize = 40;
const LINE: usize = 16;
const HEAD: usize = 28;
const COLUMNS: usize = 4;
/// Fields that name a record of another stream: field, stream.
const REFERENCES: [(&str, &str); 4] = [
    ("account_id", "accounts"),
    ("security_id", "securities"),
    ("institution_id", "institutions"),
    ("item_id", "item"),
];

/// Draw the streams with their fields, keys and references.
#[derive(Args)]
#[command(after_help = "Example: selvedge streams --svg > streams.svg")]
pub(crate) struct Streams {
    /// Print a picture in SVG; names, keys and fields as text otherwise.
    #[arg(long)]
    svg: bool,
}

impl Streams {
    #[expect(clippy::unused_async, reason = "every command is run the same way")]
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        if self.svg {
            print!("{}", picture());
        } else {
            for stream in &STREAMS {
                println!("{} ({}): {}", stream.name, stream.key.join(", "), stream.meaning);
                for field in stream.fields {
                    println!("    {:<28} {:<8}  {}", field.name, word(field.kind), field.meaning);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn word(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text | FieldKind::Currency => "text",
        FieldKind::Decimal => "decimal",
        FieldKind::Integer => "integer",
        FieldKind::Boolean => "boolean",
        FieldKind::Date => "date",
        FieldKind::Instant => "instant",
        FieldKind::Object => "object",
        FieldKind::List => "list",
    }
}

/// A box of the picture: a stream and where it stands.
struct Drawn<'a> {
    stream: &'a Declaration,
    x: usize,
    y: usize,
}

impl Drawn<'_> {
    /// The middle of a field's line.
    fn line_of(&self, field: &str) -> usize {
        let place = self.stream.fields.iter().position(|known| known.name == field).unwrap_or(0);
        self.y + HEAD + place * LINE + LINE / 2
    }
}

fn height(stream: &Declaration) -> usize {
    HEAD + stream.fields.len() * LINE + 8
}

/// Every stream as a box in the shortest column, and a line from each reference to what it names.
fn picture() -> String {
    let mut bottoms = [GAP; COLUMNS];
    let mut drawn: Vec<Drawn<'_>> = Vec::new();
    for stream in &STREAMS {
        let column = (0..COLUMNS).min_by_key(|column| bottoms[*column]).unwrap_or(0);
        drawn.push(Drawn { stream, x: GAP + column * (BOX_WIDTH + 3 * GAP), y: bottoms[column] });
        bottoms[column] += height(stream) + GAP;
    }
    let width = COLUMNS * (BOX_WIDTH + 3 * GAP) - GAP;
    let tall = bottoms.into_iter().max().unwrap_or(0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {tall}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\">\n\
         <title>Streams, their fields and what they refer to</title>\n\
         <rect width=\"{width}\" height=\"{tall}\" fill=\"#ffffff\"/>\n"
    );
    let mut draw = |text: std::fmt::Arguments<'_>| {
        svg.write_fmt(text).expect("a string takes what is written to it");
    };
    for from in &drawn {
        for (field, target) in REFERENCES {
            let has = from.stream.fields.iter().any(|known| known.name == field);
            let to = drawn.iter().find(|to| to.stream.name == target);
            let Some(to) = to.filter(|to| has && to.stream.name != from.stream.name) else {
                continue;
            };
            // The Item is everywhere; its lines would hide the others.
            if field == "item_id" && from.stream.name != "accounts" {
                continue;
            }
            let (y1, y2) = (from.line_of(field), to.line_of(field));
            let (x1, x2, bend) = match from.x <= to.x {
                true => (from.x + BOX_WIDTH, to.x, 40),
                false => (from.x, to.x + BOX_WIDTH, -40),
            };
            let (x1, x2) = if from.x == to.x { (from.x, to.x) } else { (x1, x2) };
            let bend = if from.x == to.x { -40 } else { bend };
            let (c1, c2) =
                (signed(x1) + bend, signed(x2) - if from.x == to.x { -bend } else { bend });
            draw(format_args!(
                "<path d=\"M{x1} {y1} C{c1} {y1} {c2} {y2} {x2} {y2}\" fill=\"none\" \
                 stroke=\"#7a8699\" stroke-width=\"1.2\"/>\n"
            ));
        }
    }
    for Drawn { stream, x, y } in &drawn {
        let tall = height(stream);
        draw(format_args!(
            "<g><rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{tall}\" rx=\"5\" \
             fill=\"#f7f8fa\" stroke=\"#c3cad5\"/>\n\
             <text x=\"{}\" y=\"{}\" font-size=\"14\" font-weight=\"600\" fill=\"#1d2736\">{}</text>\n",
            x + 10,
            y + 19,
            stream.name
        ));
        for (place, field) in stream.fields.iter().enumerate() {
            let line = y + HEAD + place * LINE + 12;
            let is_key = stream.key.contains(&field.name);
            let (weight, mark) = if is_key { ("600", "● ") } else { ("400", "") };
            draw(format_args!(
                "<text x=\"{}\" y=\"{line}\" font-weight=\"{weight}\" fill=\"#1d2736\">{mark}{}</text>\
                 <text x=\"{}\" y=\"{line}\" fill=\"#5c6878\" text-anchor=\"end\">{}</text>\n",
                x + 10,
                field.name,
                x + BOX_WIDTH - 10,
                word(field.kind)
            ));
        }
        draw(format_args!("</g>\n"));
    }
    svg + "</svg>\n"
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
