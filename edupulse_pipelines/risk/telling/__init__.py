"""Models and scores in words and pictures, for educators and for people who judge a model.

`factors`: the registry of risk factors and every word about them. `explanations`: a score's reasons. `model_card`,
`model_plots`, `calibration_plot`: what a training leaves to read; `reports` gathers it. `card_facts`: what a card is
written from. `card_page`: the card as markdown and HTML. Computes no score and decides nothing.
"""
