//! What `gated_delta` means, for one head: the state is a matrix from keys to values.

/// One position. `state` is `[key width, value width]`; gives back the answer to the query.
pub(super) fn step(state: &mut [f64], q: &[f32], k: &[f32], v: &[f32], decay: f32, beta: f32) -> Vec<f64> {
    let width = v.len();
    let at = |row: usize, column: usize| row * width + column;
    state.iter_mut().for_each(|x| *x *= f64::from(decay).exp());
    for column in 0..width {
        let said: f64 = k.iter().enumerate().map(|(row, &k)| f64::from(k) * state[at(row, column)]).sum();
        let change = f64::from(beta) * (f64::from(v[column]) - said);
        for (row, &k) in k.iter().enumerate() {
            state[at(row, column)] += f64::from(k) * change;
        }
    }
    let answer =
        |column: usize| q.iter().enumerate().map(|(row, &q)| f64::from(q) * state[at(row, column)]).sum();
    (0..width).map(answer).collect()
}
