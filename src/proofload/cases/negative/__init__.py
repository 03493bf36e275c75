"""TC-NEG: what must not happen. Controls that strike the innocent, can be talked round, or give secrets away."""
