import requests

answer = requests.post(
    "http://127.0.0.1:8080/v3/push",
    headers={"Authorization": "Bearer demoTokenForLocalUse2026", "Idempotency-Key": "order-1001"},
    json={"platform": "all", "audience": {"alias": ["anna"]}, "notification": {"alert": "Hello"}},
    timeout=30,
)
print(answer.json(), answer.headers.get("X-JPush-Gateway-Reason"))
