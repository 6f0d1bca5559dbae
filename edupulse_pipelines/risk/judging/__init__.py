"""How good a model is, and whether it may be used.

`evaluation`: every metric. `leakage`: the proof that what happens later does not change what was known earlier.
`promotion`: the gate a new model passes before it replaces the champion. `confidence`: how sure a prediction is.
`drift`: whether this week's students look like those a model learned from. `retraining`: whether drift or verdicts ask
for a training before the schedule does.
"""
