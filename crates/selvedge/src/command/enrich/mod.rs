//! `selvedge enrich`: judges the rows of a file, or of a stream between other programs.

mod csv;
mod json_lines;
mod together;

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use enrich::{INPUT, OUTPUT, SERIES_OUTPUT, Sheet, Tables, judge_sheet};

use self::together::Together;

/// Rows that are judged at a time: enough to keep every core busy, few enough to stay small.
const ROWS_AT_A_TIME: usize = 32_768;
const BUFFER_BYTES: usize = 1 << 20;

/// Say what transactions mean: merchant, category, flags, each with a reason.
#[derive(Args)]
#[command(
    after_help = "Example: selvedge enrich --input transactions.csv --output enriched.csv\n\n\
    Columns in: id, amount (positive is money out), description; and as far as they are known: date, \
    currency, country, account_id, account_type, holder_type, merchant_name, pfc_primary, \
    pfc_detailed, pfc_confidence, mcc, end_user_id.\n\
    Files end in .csv, .jsonl or .parquet; - stands for a stream of Arrow (IPC) on standard input \
    or output."
)]
pub(crate) struct Enrich {
    /// Where the rows come from.
    #[arg(long)]
    input: PathBuf,

    /// Where they go to.
    #[arg(long)]
    output: PathBuf,

    /// Also read what rows say together: transfers, refunds, what stands twice or comes again. The rows
    /// of an end user stand together, by `end_user_id`, and have a date and an `account_id`.
    #[arg(long)]
    series: bool,

    /// With --series: what each end user's rows say in all, as one JSON object a line.
    #[arg(long, value_name = "FILE", requires = "series")]
    series_output: Option<PathBuf>,

    /// Threads; as many as there are cores if absent.
    #[arg(long)]
    threads: Option<usize>,
}

/// What rows are kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
    #[cfg(feature = "lake")]
    Parquet,
    #[cfg(feature = "lake")]
    ArrowStream,
}

/// Rows that come in, a sheet of `INPUT` at a time.
trait Source {
    /// Fills an empty sheet with so many rows at most; none means the end.
    fn fill(&mut self, sheet: &mut Sheet, rows: usize) -> anyhow::Result<()>;
}

/// Rows that go out.
trait Sink {
    /// Writes the rows of a sheet.
    fn write(&mut self, sheet: &Sheet) -> anyhow::Result<()>;
    /// Makes all of it durable.
    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

impl Enrich {
    #[expect(clippy::unused_async, reason = "every command is run the same way")]
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        if is_same(&self.input, &self.output) {
            bail!("--input and --output are the same file; name another output");
        }
        if let Some(series) = &self.series_output
            && [&self.input, &self.output]
                .into_iter()
                .any(|path| path == series || is_same(path, series))
        {
            bail!("--series-output is a file of --input or --output; name another");
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = self.threads.unwrap_or(cores).max(1);
        let mut source = source(&self.input)?;
        let format = Format::of(&self.output)?;
        let unfinished = Unfinished::create(&self.output)?;
        let columns: &'static [&'static str] = if self.series { &SERIES_OUTPUT } else { &OUTPUT };
        let mut sink = sink(format, &unfinished, columns)?;
        let tables = Tables::new();
        let mut sheet = Sheet::new(INPUT.len());
        let series = self.series_output.as_deref().map(Unfinished::create).transpose()?;
        let mut together = match self.series {
            true => {
                Some(Together::new(&tables, series.as_ref().map(Unfinished::open).transpose()?))
            }
            false => None,
        };
        let (mut rows, mut judging) = (0, Duration::ZERO);
        loop {
            sheet.clear();
            source.fill(&mut sheet, ROWS_AT_A_TIME)?;
            let began = Instant::now();
            let judged = match &mut together {
                Some(together) if sheet.rows() == 0 => together.rest()?,
                Some(together) => together.judge(&sheet)?,
                None => judge_sheet(&tables, &sheet, threads)?,
            };
            judging += began.elapsed();
            judged.iter().try_for_each(|judged| sink.write(judged))?;
            if sheet.rows() == 0 {
                break;
            }
            rows += sheet.rows();
        }
        if let Some(together) = together {
            together.finish()?;
        }
        series.map_or(Ok(()), Unfinished::keep)?;
        sink.finish()?;
        unfinished.keep()?;
        eprintln!(
            "{rows} rows in {:.2} s, {:.2} s of them judging on {threads} threads; tables of {}",
            began.elapsed().as_secs_f64(),
            judging.as_secs_f64(),
            tables.version()
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// A file under another name until it is whole, so that nobody reads half of it.
struct Unfinished<'p> {
    whole: &'p Path,
    /// None for a stream.
    part: Option<PathBuf>,
}

impl<'p> Unfinished<'p> {
    /// Makes the file; one of this name that is there already is of a run that was killed.
    fn create(whole: &'p Path) -> anyhow::Result<Self> {
        if is_stream(whole) {
            return Ok(Self { whole, part: None });
        }
        let mut part = whole.as_os_str().to_owned();
        part.push(".unfinished");
        let part = PathBuf::from(part);
        File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
        Ok(Self { whole, part: Some(part) })
    }

    fn open(&self) -> anyhow::Result<File> {
        let part = self.part.as_deref().unwrap_or(self.whole);
        File::create(part).with_context(|| format!("cannot write {}", part.display()))
    }

    fn keep(self) -> anyhow::Result<()> {
        let Some(part) = &self.part else { return Ok(()) };
        std::fs::rename(part, self.whole)
            .with_context(|| format!("cannot write {}", self.whole.display()))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // After success it has its own name, and there is nothing to remove.
            let _gone = std::fs::remove_file(part);
        }
    }
}

/// Whether two paths are one file, however they are spelt.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn source(path: &Path) -> anyhow::Result<Box<dyn Source>> {
    let format = Format::of(path)?;
    let open = || File::open(path).with_context(|| format!("cannot read {}", path.display()));
    let buffered = || anyhow::Ok(BufReader::with_capacity(BUFFER_BYTES, open()?));
    Ok(match format {
        Format::Csv => Box::new(csv::Reader::new(buffered()?)?),
        Format::JsonLines => Box::new(json_lines::Reader::new(buffered()?)),
        #[cfg(feature = "lake")]
        Format::Parquet => Box::new(lake::SheetReader::of_parquet(open()?, ROWS_AT_A_TIME)?),
        #[cfg(feature = "lake")]
        Format::ArrowStream => Box::new(lake::SheetReader::of_stream(std::io::stdin().lock())?),
    })
}

fn sink(
    format: Format,
    file: &Unfinished<'_>,
    columns: &'static [&'static str],
) -> anyhow::Result<Box<dyn Sink>> {
    let buffered = || anyhow::Ok(BufWriter::with_capacity(BUFFER_BYTES, file.open()?));
    Ok(match format {
        Format::Csv => Box::new(csv::Writer::new(buffered()?, columns)?),
        Format::JsonLines => Box::new(json_lines::Writer::new(buffered()?, columns)),
        #[cfg(feature = "lake")]
        Format::Parquet => Box::new(lake::SheetWriter::to_parquet(file.open()?, columns)?),
        #[cfg(feature = "lake")]
        Format::ArrowStream => {
            let output = BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout());
            Box::new(lake::SheetWriter::to_stream(output, columns)?)
        }
    })
}

impl Format {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match (is_stream(path), ending) {
            (false, "csv") => Ok(Self::Csv),
            (false, "jsonl" | "ndjson") => Ok(Self::JsonLines),
            #[cfg(feature = "lake")]
            (false, "parquet") => Ok(Self::Parquet),
            #[cfg(feature = "lake")]
            (true, _) => Ok(Self::ArrowStream),
            #[cfg(not(feature = "lake"))]
            (true, _) | (false, "parquet") => {
                bail!("{} needs a build with Parquet and Arrow: make build", path.display())
            }
            (false, _) => bail!(
                "{} has no format: name a file that ends in .csv, .jsonl or .parquet, or - for a \
                 stream of Arrow",
                path.display()
            ),
        }
    }
}

#[cfg(feature = "lake")]
impl Source for lake::SheetReader {
    fn fill(&mut self, sheet: &mut Sheet, rows: usize) -> anyhow::Result<()> {
        Ok(self.fill(sheet, rows)?)
    }
}

#[cfg(feature = "lake")]
impl Sink for lake::SheetWriter {
    fn write(&mut self, sheet: &Sheet) -> anyhow::Result<()> {
        Ok(self.write(sheet)?)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        Ok((*self).finish()?)
    }
}

/// Writes everything and waits until the disk has it.
fn sync(output: BufWriter<File>) -> anyhow::Result<()> {
    let file = output.into_inner().context("cannot write the output")?;
    file.sync_all().context("cannot write the output")
}
