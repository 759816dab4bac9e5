"""How many cores a stream of requests needs: a simulation of replicas, its measured costs, its check."""
