//! What `argmax` means.

pub(super) fn argmax(x: &[f32], width: usize) -> Vec<u32> {
    let place = |row: &[f32]| {
        let mut best = None;
        for (i, &x) in row.iter().enumerate().filter(|(_, x)| !x.is_nan()) {
            if best.is_none_or(|(_, most)| x > most) {
                best = Some((i as u32, x));
            }
        }
        best.map_or(0, |(i, _)| i)
    };
    x.chunks(width).map(place).collect()
}
