"""The networks that every introduction starts with, each a few lines of nnjax.

Run: python examples/first_networks.py. Takes about 10 seconds on 2 CPU cores. Every function
returns the figure that it prints, and a test asserts it.

Sources: Rosenblatt 1958 (the neuron); Minsky and Papert 1969 (XOR needs a hidden layer); Rumelhart,
Hinton, Williams 1986, https://doi.org/10.1038/323533a0 (the backward pass).
"""

import jax
import jax.numpy as jnp
import optax

import nnjax as nn

KEY = jax.random.key(0)


def descend(model, loss, x, y, *, optimizer, steps, key=KEY):
    """Minimise ``loss(outputs, y).mean()`` over all of x at once; return params, last loss."""
    params, _ = model.init(key)

    def objective(params, key):
        return loss(model(params, x, key=key, train=True), y).mean()

    def step(carry, key):
        params, opt_state = carry
        value, grads = jax.value_and_grad(objective)(params, key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    start = (params, optimizer.init(params))
    (params, _), losses = jax.lax.scan(step, start, jax.random.split(key, steps))
    return params, float(losses[-1])


def one_neuron():
    """Two weights, a bias and a threshold learn OR: a line parts the plane."""
    x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = jnp.array([[0.0], [1.0], [1.0], [1.0]])
    neuron = nn.linear(2, 1)
    loss = nn.losses.sigmoid_binary_cross_entropy
    params, _ = descend(neuron, loss, x, y, optimizer=optax.sgd(1.0), steps=200)
    return float(((neuron(params, x) > 0) == (y > 0.5)).mean())


def xor():
    """No line parts XOR; two layers with something bent between them do."""
    x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = jnp.array([[0.0], [1.0], [1.0], [0.0]])
    network = nn.serial(nn.linear(2, 8), jnp.tanh, nn.linear(8, 1))
    loss = nn.losses.sigmoid_binary_cross_entropy
    params, _ = descend(network, loss, x, y, optimizer=optax.adam(0.1), steps=200)
    return float(((network(params, x) > 0) == (y > 0.5)).mean())


def classifier():
    """20 features, hidden layers of 64 and 32, 10 classes: points around ten centres."""
    centres_key, label_key, noise_key = jax.random.split(KEY, 3)
    centres = 2 * jax.random.normal(centres_key, (10, 20))
    labels = jax.random.randint(label_key, (500,), 0, 10)
    x = centres[labels] + jax.random.normal(noise_key, (500, 20))
    network = nn.serial(
        nn.linear(20, 64), jax.nn.relu, nn.linear(64, 32), jax.nn.relu, nn.linear(32, 10)
    )
    loss = nn.losses.softmax_cross_entropy
    params, _ = descend(network, loss, x, labels, optimizer=optax.adam(1e-2), steps=100)
    return float(nn.train.accuracy(network(params, x), labels).mean())


def any_mlp(*hidden, dropout_rate=0.2):
    """Any hidden sizes, with dropout: returns its parameter count and a training loss."""
    network = nn.mlp(20, *hidden, 3, dropout_rate=dropout_rate)
    x = jax.random.normal(KEY, (200, 20))
    labels = jnp.argmax(x[:, :3], axis=1)  # the largest of the first three features
    loss = nn.losses.softmax_cross_entropy
    params, last = descend(network, loss, x, labels, optimizer=optax.adam(1e-2), steps=150)
    return nn.count_params(params), last


def regression():
    """4 -> 16 -> 8 -> 1 with squared error and Adam, on y = sin(x0) + x1 * x2 - x3."""
    x = jax.random.uniform(KEY, (400, 4), minval=-1, maxval=1)
    y = (jnp.sin(x[:, 0]) + x[:, 1] * x[:, 2] - x[:, 3])[:, None]
    network = nn.mlp(4, 16, 8, 1, activation=jnp.tanh)
    loss = nn.losses.squared_error
    _, last = descend(network, loss, x, y, optimizer=optax.adam(1e-2), steps=500)
    return last


def backward_by_hand():
    """delta1 = (W2^T delta2) * sigma'(z1): two layers differentiated on paper equal jax.grad."""
    network = nn.serial(hidden=nn.linear(3, 5), sigma=jax.nn.sigmoid, out=nn.linear(5, 2))
    params, _ = network.init(KEY)
    x = jax.random.normal(jax.random.key(1), (3,))
    y = jnp.array([0.3, -0.7])

    w2 = params["out"]["kernel"]  # [5, 2]
    z1 = x @ params["hidden"]["kernel"] + params["hidden"]["bias"]  # [5]
    a1 = jax.nn.sigmoid(z1)  # [5]
    delta2 = a1 @ w2 + params["out"]["bias"] - y  # [2], gradient of half the squared error
    delta1 = (w2 @ delta2) * a1 * (1 - a1)  # [5], sigma'(z) = sigma(z) (1 - sigma(z))
    by_hand = {
        "hidden": {"kernel": jnp.outer(x, delta1), "bias": delta1},
        "out": {"kernel": jnp.outer(a1, delta2), "bias": delta2},
    }

    half = lambda params: 0.5 * nn.losses.squared_error(network(params, x), y).sum()
    errors = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), by_hand, jax.grad(half)(params))
    return float(max(jax.tree.leaves(errors)))


def main() -> dict[str, float]:
    count, any_loss = any_mlp(32, 16, 8)
    figures = {
        "one neuron, OR: accuracy": one_neuron(),
        "two layers, XOR: accuracy": xor(),
        "20-64-32-10 classifier: training accuracy": classifier(),
        f"20-32-16-8-3 with dropout, {count:,} parameters: training loss": any_loss,
        "4-16-8-1 regression: mean squared error": regression(),
        "backward pass by hand: largest difference from jax.grad": backward_by_hand(),
    }
    for name, figure in figures.items():
        print(f"{name}  {figure:.2g}")
    return figures


if __name__ == "__main__":
    main()
