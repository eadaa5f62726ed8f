//! Searching in formats whose codes number points of a table: the nearest point, and the scales of a block's
//! parts.
//!
//! A group of elements, divided by its scale, falls into a cell: the levels nearest to each element. If the
//! table has that very point it is the nearest. If not, the points around the cell are tried; their list is
//! made when the cell is first met. The scales of parts are odd multiples of the block's. The tables are in
//! `grids`, the layouts with the formats.

use super::search::{Outcome, as_f16, energy, inverse, sum};

/// How many points around a cell are tried.
const AROUND: usize = 24;

/// No point of the table lies in the cell.
const NONE: u16 = u16::MAX;

/// The points of a table with `D` coordinates, and what is known of the cells around them.
pub(super) struct Lattice<const D: usize, const LEVELS: usize> {
    bits: u32,
    levels: [f32; LEVELS],
    values: Vec<[f32; D]>,
    point_in: Vec<u16>,
    around: Vec<Box<[u16]>>,
}

/// What the codes of one group give at some scale: its elements, their weights and their unscaled levels.
pub(super) fn outcome_of<const D: usize>(
    x: &[f32; D],
    w: &[f32; D],
    levels: &[f32; D],
    scale: f32,
) -> Outcome {
    let off: [f32; D] = std::array::from_fn(|i| x[i] - scale * levels[i]);
    Outcome {
        error: sum(std::array::from_fn::<_, D, _>(|i| w[i] * off[i] * off[i])),
        xl: sum(std::array::from_fn::<_, D, _>(|i| w[i] * x[i] * levels[i])),
        ll: sum(std::array::from_fn::<_, D, _>(|i| w[i] * levels[i] * levels[i])),
    }
}

impl<const D: usize, const LEVELS: usize> Lattice<D, LEVELS> {
    /// The table `points` with coordinates of `bits` bits, worth `levels`.
    pub(super) fn new(points: &[u16], bits: u32, levels: [f32; LEVELS]) -> Self {
        let cells = 1 << (bits * D as u32);
        let coordinate = |point: u16, i: usize| usize::from(point >> (bits * i as u32)) & ((1 << bits) - 1);
        let values = points.iter().map(|point| std::array::from_fn(|i| levels[coordinate(*point, i)]));
        let mut point_in = vec![NONE; cells];
        for (number, point) in points.iter().enumerate() {
            point_in[usize::from(*point)] = number as u16;
        }
        let values = values.collect();
        Self { bits, levels, values, point_in, around: vec![Box::default(); cells] }
    }

    /// The coordinates of a point, as what they are worth.
    pub(super) fn values(&self, number: u16) -> &[f32; D] {
        &self.values[usize::from(number)]
    }

    /// The number of the point nearest to `u`, deviations weighed by `w`.
    pub(super) fn nearest(&mut self, u: &[f32; D], w: &[f32; D]) -> u16 {
        let cell = self.cell_of(u);
        if self.point_in[cell] != NONE {
            return self.point_in[cell];
        }
        if self.around[cell].is_empty() {
            self.around[cell] = self.points_around(cell);
        }
        let mut best = (f32::INFINITY, 0);
        for number in &self.around[cell] {
            let point = &self.values[usize::from(*number)];
            let distance = sum(std::array::from_fn::<_, D, _>(|i| w[i] * (u[i] - point[i]).powi(2)));
            if distance < best.0 {
                best = (distance, *number);
            }
        }
        best.1
    }

    fn cell_of(&self, u: &[f32; D]) -> usize {
        let mut coordinates = [0; D];
        for level in 1..LEVELS {
            let border = (self.levels[level - 1] + self.levels[level]) / 2.0;
            for i in 0..D {
                coordinates[i] += u32::from(u[i] > border);
            }
        }
        (0..D as u32).fold(0, |cell, i| cell | (coordinates[i as usize] << (self.bits * i)) as usize)
    }

    fn points_around(&self, cell: usize) -> Box<[u16]> {
        let coordinate = |i: usize| (cell >> (self.bits as usize * i)) & ((1 << self.bits) - 1);
        let middle: [f32; D] = std::array::from_fn(|i| self.levels[coordinate(i)]);
        let distance = |point: &[f32; D]| (0..D).map(|i| (middle[i] - point[i]).powi(2)).sum::<f32>();
        let mut points: Vec<(f32, u16)> =
            self.values.iter().zip(0..).map(|(point, number)| (distance(point), number)).collect();
        points.select_nth_unstable_by(AROUND, |a, b| a.0.total_cmp(&b.0));
        points[..AROUND].iter().map(|(_, number)| *number).collect()
    }
}

/// Elements without their signs, eight signs a byte.
pub(super) struct Folded {
    pub(super) magnitudes: [f32; 256],
    pub(super) signs: [u8; 32],
}

/// Takes the signs off. If the number of minuses of each eight has to be even, the element whose sign costs
/// least to get wrong gives way and keeps a negative magnitude.
pub(super) fn fold(x: &[f32; 256], w: &[f32; 256], even: bool) -> Folded {
    let mut folded = Folded { magnitudes: x.map(f32::abs), signs: [0; 32] };
    for (eight, signs) in folded.signs.iter_mut().enumerate() {
        let here = 8 * eight..8 * eight + 8;
        *signs = here.clone().fold(0, |signs, i| signs | u8::from(x[i] < 0.0) << (i % 8));
        if even && signs.count_ones() % 2 == 1 {
            let cost = |i: &usize| w[*i] * x[*i] * x[*i];
            let cheapest = here.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(8 * eight);
            *signs ^= 1 << (cheapest % 8);
            folded.magnitudes[cheapest] = -folded.magnitudes[cheapest];
        }
    }
    folded
}

/// The scale a part would like best, among those that let its furthest element land on `landings`.
pub(super) fn wish(x: &[f32], landings: (f32, f32), mut outcome_at: impl FnMut(f32) -> Outcome) -> f32 {
    const STEPS: u8 = 14;
    let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    if most == 0.0 {
        return 0.0;
    }
    let ratio = landings.1 / landings.0;
    let mut best = (0.0, 0.0);
    for step in 0..STEPS {
        let landing = landings.0 * ratio.powf(f32::from(step) / f32::from(STEPS - 1));
        let outcome = outcome_at(most / landing);
        if outcome.gain() > best.0 && outcome.xl > 0.0 {
            best = (outcome.gain(), outcome.better_scale());
        }
    }
    for _ in 0..3 {
        let outcome = outcome_at(best.1);
        if outcome.gain() <= best.0 {
            break;
        }
        best = (outcome.gain(), outcome.better_scale());
    }
    best.1
}

/// The numbers of the points nearest to the groups of a run, at one scale.
pub(super) fn code<const D: usize, const LEVELS: usize>(
    lattice: &mut Lattice<D, LEVELS>,
    x: &[f32],
    w: &[f32],
    scale: f32,
    numbers: &mut [u16],
) -> Outcome {
    let inverse = inverse(scale);
    let mut outcome = Outcome::default();
    for ((x, w), number) in x.as_chunks().0.iter().zip(w.as_chunks().0).zip(numbers) {
        *number = lattice.nearest(&x.map(|x| x * inverse), w);
        outcome.include(&outcome_of(x, w, lattice.values(*number), scale));
    }
    outcome
}

/// Fits a block to points: its scales, and the number of each group's point.
pub(super) fn fit<const D: usize, const LEVELS: usize, const PARTS: usize>(
    lattice: &mut Lattice<D, LEVELS>,
    x: &[f32; 256],
    w: &[f32; 256],
    landings: (f32, f32),
    unit: f32,
) -> (Graded<PARTS>, [u16; 64]) {
    const TOP: u8 = 15;
    let part = 256 / PARTS;
    let mut numbers = [0; 64];
    let mut outcome_at = |p: usize, scale: f32| {
        let here = part * p..part * (p + 1);
        let groups = part / D;
        code(lattice, &x[here.clone()], &w[here], scale, &mut numbers[groups * p..groups * (p + 1)])
    };
    let wishes =
        std::array::from_fn(|p| wish(&x[part * p..part * (p + 1)], landings, |scale| outcome_at(p, scale)));
    let graded = graded(energy(x, w), &wishes, unit, TOP, &mut outcome_at);
    for (p, grade) in graded.grades.iter().enumerate() {
        outcome_at(p, scale_of(graded.d, unit, *grade));
    }
    (graded, numbers)
}

/// A block whose part `p` has the scale `d * unit * (2 * grades[p] + 1)`.
pub(super) struct Graded<const PARTS: usize> {
    pub(super) d: f32,
    pub(super) grades: [u8; PARTS],
}

/// The scale of a part.
pub(super) fn scale_of(d: f32, unit: f32, grade: u8) -> f32 {
    d * unit * f32::from(2 * grade + 1)
}

/// Fits the scales of a block to the wishes of its parts; `nothing` is the error of a block of zeros.
pub(super) fn graded<const PARTS: usize>(
    nothing: f32,
    wishes: &[f32; PARTS],
    unit: f32,
    top: u8,
    mut outcome_at: impl FnMut(usize, f32) -> Outcome,
) -> Graded<PARTS> {
    const STARTS: [f32; 3] = [1.0, 0.92, 1.12];
    const ROUNDS: usize = 3;
    let most = wishes.iter().fold(0.0f32, |most, wish| most.max(*wish));
    let mut best = Graded { d: 0.0, grades: [0; PARTS] };
    let mut best_error = nothing;
    for start in STARTS {
        let mut d = as_f16(start * most / (unit * f32::from(2 * top + 1)));
        let mut last = f32::INFINITY;
        for _ in 0..ROUNDS {
            let mut total = Outcome::default();
            let mut grades = [0; PARTS];
            for (part, grade) in grades.iter_mut().enumerate() {
                let middle = (wishes[part] * inverse(d * unit) - 1.0) / 2.0;
                let middle = (middle + 0.5).clamp(0.0, top.into()) as u8;
                let tries = middle.saturating_sub(1)..=(middle + 1).min(top);
                let outcomes = tries.map(|grade| (grade, outcome_at(part, scale_of(d, unit, grade))));
                let chosen = outcomes.min_by(|a, b| a.1.error.total_cmp(&b.1.error));
                let Some((chosen, outcome)) = chosen else { continue };
                let multiple = scale_of(1.0, unit, chosen);
                *grade = chosen;
                total.error += outcome.error;
                total.xl += outcome.xl * multiple;
                total.ll += outcome.ll * multiple * multiple;
            }
            if total.error < best_error {
                best_error = total.error;
                best = Graded { d, grades };
            }
            if total.error >= last {
                break;
            }
            last = total.error;
            d = as_f16(total.better_scale());
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{grids, points};

    /// Repeatable numbers between -1 and 1.
    fn noise(seed: u32) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    #[test]
    fn a_point_is_nearest_to_itself() {
        let mut lattice = Lattice::<8, 3>::new(&grids::IQ2_S, 2, [8.0, 25.0, 43.0]);
        let mut noise = noise(1);
        for number in 0..1024 {
            let beside = lattice.values(number).map(|level| level + 8.0 * noise());
            assert_eq!(lattice.nearest(&beside, &[1.0; 8]), number);
        }
    }

    #[test]
    fn off_the_points_the_nearest_is_found_or_nearly() {
        let mut lattice =
            Lattice::<4, 8>::new(&grids::IQ3_XXS, 3, [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0]);
        let mut noise = noise(2);
        for _ in 0..2000 {
            let u: [f32; 4] = std::array::from_fn(|_| 33.0 + 32.0 * noise());
            let w: [f32; 4] = std::array::from_fn(|_| 1.5 + noise());
            let distance = |number: u16| outcome_of(&u, &w, lattice.values(number), 1.0).error;
            let least = (0..256).map(distance).fold(f32::INFINITY, f32::min);
            let found = lattice.nearest(&u, &w);
            let found = outcome_of(&u, &w, lattice.values(found), 1.0).error;
            assert!(found <= 1.1 * least, "{found} where {least} is possible, at {u:?}");
        }
    }

    #[test]
    fn folding_keeps_signs_even_at_least_cost() {
        let mut noise = noise(3);
        let x: [f32; 256] = std::array::from_fn(|_| noise());
        let folded = fold(&x, &[1.0; 256], true);
        for (eight, signs) in folded.signs.iter().enumerate() {
            assert_eq!(signs.count_ones() % 2, 0);
            let here = &x[8 * eight..8 * eight + 8];
            let least = here.iter().fold(f32::INFINITY, |least, x| least.min(x.abs()));
            for (i, x) in here.iter().enumerate() {
                let magnitude = folded.magnitudes[8 * eight + i];
                assert_eq!(magnitude * points::sign(*signs, i), *x);
                assert!(magnitude >= 0.0 || magnitude == -least);
            }
        }
        let free = fold(&x, &[1.0; 256], false);
        assert!(free.magnitudes.iter().all(|magnitude| *magnitude >= 0.0));
    }
}
