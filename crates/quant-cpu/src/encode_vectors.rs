//! Indices of the codevectors of all points: rows side by side, runs of points by the kernel of nearest codevectors,
//! stage by stage. Class: exact.

use crate::vector_cells::{Groups, encode, nearest_few};
use crate::{Cpu, samples::load};
use quant_core::design::vector::Points;
use quant_core::tensor::{Matrix, flush};
use quant_core::vectors::{REFINEMENTS, STARTS, VectorEncoding, pack_indices};
use rayon::prelude::*;
use std::ops::Range;

pub(crate) fn encode_vectors(cpu: &Cpu, matrix: Matrix<'_>, encoding: &VectorEncoding<'_>, packed: &mut [u8]) {
    encoding.assert_consistent(packed);
    let rule = encoding.rule;
    if encoding.row_len_bytes() == 0 {
        return;
    }
    let stage = |part: usize, stage: usize| {
        let codevectors = Points::new(encoding.stage(part, stage), rule.dimension()).expect("codevectors are finite");
        Groups::new(cpu.level, codevectors)
    };
    let groups = (0..rule.parts()).flat_map(|part| (0..rule.stages()).map(move |s| (part, s)));
    let groups: Vec<Groups> = groups.map(|(part, s)| stage(part, s)).collect();
    let job = Job { cpu, matrix, encoding, groups: &groups };
    let rows = packed.par_chunks_exact_mut(encoding.row_len_bytes()).enumerate();
    cpu.pool.install(|| rows.for_each_init(Scratch::default, |scratch, (row, packed)| job.row(row, packed, scratch)));
}

struct Job<'a> {
    cpu: &'a Cpu,
    matrix: Matrix<'a>,
    encoding: &'a VectorEncoding<'a>,
    /// Codevectors of all stages of all parts.
    groups: &'a [Groups],
}

/// Points of each part that are worked on at a time; their indices fill whole bytes.
const RUN: usize = 1024;

/// What a thread works with.
#[derive(Default)]
struct Scratch {
    /// A run of a row in units of the row's scale, filled up to whole points.
    row: Vec<f32>,
    /// Indices of the run.
    indices: Vec<u16>,
    /// The points of one part of the run.
    points: Vec<f32>,
    /// Codes of those points: stage after stage.
    codes: Vec<Vec<u32>>,
    trials: Trials,
}

/// What a thread needs where codevectors add up.
#[derive(Default)]
struct Trials {
    /// What stages leave of the points.
    rest: Vec<f32>,
    /// Codes of the first stage to start from.
    starts: Vec<[u32; STARTS]>,
    /// Codes from one start: stage after stage.
    codes: Vec<Vec<u32>>,
    /// The least squared error of each point so far.
    costs: Vec<f32>,
}

impl Job<'_> {
    fn row(&self, row: usize, packed: &mut [u8], scratch: &mut Scratch) {
        let (rule, columns) = (self.encoding.rule, self.encoding.columns);
        let run = RUN * rule.parts() * rule.dimension();
        for (start, packed) in (0..columns).step_by(run).zip(packed.chunks_mut(rule.row_len_bytes(run))) {
            self.run(row, start..(start + run).min(columns), packed, scratch);
        }
    }

    fn run(&self, row: usize, columns: Range<usize>, packed: &mut [u8], scratch: &mut Scratch) {
        let rule = self.encoding.rule;
        let (d, parts, stages) = (rule.dimension(), rule.parts(), rule.stages());
        scratch.indices.resize(rule.indices_per_row(columns.len()), 0);
        self.fill(row, columns, &mut scratch.row);
        for part in 0..parts {
            scratch.points.clear();
            let own = scratch.row.chunks_exact(d).skip(part).step_by(parts);
            own.for_each(|point| scratch.points.extend_from_slice(point));
            scratch.codes.resize(stages, Vec::new());
            scratch.codes.iter_mut().for_each(|codes| codes.resize(scratch.points.len() / d, 0));
            self.part(part, &scratch.points, &mut scratch.codes, &mut scratch.trials);
            for (stage, codes) in scratch.codes.iter().enumerate() {
                let places = scratch.indices[stage..].iter_mut().step_by(stages).skip(part).step_by(parts);
                places.zip(codes).for_each(|(index, &code)| *index = code as u16);
            }
        }
        pack_indices(&scratch.indices, rule.index_bits(), packed);
    }

    /// Columns of row `row` in units of its scale.
    fn fill(&self, row: usize, columns: Range<usize>, samples: &mut Vec<f32>) {
        let rule = self.encoding.rule;
        let inverse = self.encoding.inverse_scale(row);
        samples.clear();
        samples.resize(rule.points_per_row(columns.len()) * rule.dimension(), 0.0);
        let start = row * self.encoding.columns + columns.start;
        load(self.cpu.level, self.matrix.samples(), start, &mut samples[..columns.len()]);
        samples.iter_mut().for_each(|x| *x = flush(*x * inverse));
    }

    /// Codes of all points of a part.
    fn part(&self, part: usize, points: &[f32], codes: &mut [Vec<u32>], trials: &mut Trials) {
        let stages = codes.len();
        let groups = &self.groups[part * stages..][..stages];
        if stages == 1 {
            return self.nearest(&groups[0], points, &mut codes[0]);
        }
        self.start(part, points, codes, trials);
        let rest = &mut trials.rest;
        for stage in (0..REFINEMENTS).flat_map(|_| 0..stages) {
            rest.copy_from_slice(points);
            (0..stages)
                .filter(|&other| other != stage)
                .for_each(|other| self.leave(rest, (part, other), &codes[other]));
            self.nearest(&groups[stage], rest, &mut codes[stage]);
        }
    }

    /// The best codes of those that follow from each start.
    fn start(&self, part: usize, points: &[f32], codes: &mut [Vec<u32>], trials: &mut Trials) {
        let (d, stages) = (self.encoding.rule.dimension(), codes.len());
        let groups = &self.groups[part * stages..][..stages];
        let count = points.len() / d;
        trials.starts.resize(count, [0; STARTS]);
        nearest_few(self.cpu.level, &groups[0], points, &mut trials.starts);
        trials.costs.clear();
        trials.costs.resize(count, f32::INFINITY);
        trials.codes.resize(stages, Vec::new());
        trials.codes.iter_mut().for_each(|codes| codes.resize(count, 0));
        for start in 0..STARTS {
            trials.codes[0].iter_mut().zip(&trials.starts).for_each(|(code, starts)| *code = starts[start]);
            trials.rest.clear();
            trials.rest.extend_from_slice(points);
            self.leave(&mut trials.rest, (part, 0), &trials.codes[0]);
            for (stage, groups) in groups.iter().enumerate().skip(1) {
                self.nearest(groups, &trials.rest, &mut trials.codes[stage]);
                self.leave(&mut trials.rest, (part, stage), &trials.codes[stage]);
            }
            for (i, (rest, least)) in trials.rest.chunks_exact(d).zip(&mut trials.costs).enumerate() {
                let cost = rest.iter().fold(0.0f32, |sum, x| sum + x * x);
                if cost < *least || start == 0 {
                    *least = cost;
                    codes.iter_mut().zip(&trials.codes).for_each(|(best, codes)| best[i] = codes[i]);
                }
            }
        }
    }

    fn nearest(&self, groups: &Groups, targets: &[f32], codes: &mut [u32]) {
        encode(self.cpu.level, groups, targets, codes, |_, _| {});
    }

    /// Takes the codevectors of a stage of a part from points.
    fn leave(&self, rest: &mut [f32], (part, stage): (usize, usize), codes: &[u32]) {
        let (d, codevectors) = (self.encoding.rule.dimension(), self.encoding.stage(part, stage));
        for (x, &code) in rest.chunks_exact_mut(d).zip(codes) {
            x.iter_mut().zip(&codevectors[code as usize * d..]).for_each(|(x, y)| *x -= y);
        }
    }
}
