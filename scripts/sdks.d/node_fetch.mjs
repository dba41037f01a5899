const answer = await fetch('http://127.0.0.1:8080/v3/push', {
  method: 'POST',
  headers: { Authorization: 'Bearer demoTokenForLocalUse2026', 'Idempotency-Key': 'order-1002' },
  body: JSON.stringify({ platform: 'all', audience: { alias: ['anna'] }, notification: { alert: 'Hello' } }),
});
console.log(await answer.json(), answer.headers.get('X-JPush-Gateway-Reason'));
