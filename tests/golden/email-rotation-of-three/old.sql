UPDATE users SET email=email||'x', n=n+10; UPDATE users SET email=(ARRAY['b','c','a'])[id], n=(ARRAY[3,1,2])[id];
