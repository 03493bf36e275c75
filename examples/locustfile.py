"""A Locust file, run by: proofload load --locustfile examples/locustfile.py http://127.0.0.1:8080 --users 20."""

from locust import HttpUser, between, task


class Shopper(HttpUser):
    """Logs in once, reads often, orders now and then."""

    wait_time = between(0.1, 0.5)

    def on_start(self):
        """Log in."""
        answer = self.client.post("/login", json={"name": "load_test_user_1"})
        self.client.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    @task(3)
    def read(self):
        """Read an item."""
        self.client.get("/items/7", name="/items/[id]")

    @task
    def order(self):
        """Order, and say oneself what counts as done."""
        with self.client.post("/orders", json={"item": 7}, catch_response=True) as answer:
            if answer.status_code == 201 and answer.json()["done"]:
                answer.success()
            else:
                answer.failure("not ordered")
